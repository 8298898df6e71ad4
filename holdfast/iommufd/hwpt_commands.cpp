// The ioctls of hardware page tables and devices.
#include <cstring>

#include "holdfast/iommufd/iommufd.hpp"
#include "holdfast/luo/ioctl.hpp"

namespace holdfast::iommufd {
namespace {

constexpr u64 hwpt_alloc_minimum = offsetof(iommu_hwpt_alloc, __reserved) + sizeof(u32);
constexpr u64 hw_info_minimum = offsetof(iommu_hw_info, __reserved) + 3;

Status write_zeroes(UserMemory& user, u64 address, u64 length) {
  constexpr std::array<std::byte, 256> zeroes{};
  while (length != 0) {
    const u64 here = std::min<u64>(length, zeroes.size());
    TRY(user.write(address, std::span(zeroes).first(here)));
    address += here;
    length -= here;
  }
  return {};
}

}  // namespace

Result<u64> Iommufd::hwpt_alloc(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(iommu_hwpt_alloc command, luo::read_argument<iommu_hwpt_alloc>(call, argument, hwpt_alloc_minimum));
  TRY(check_hwpt_alloc(command));
  Guard guard(x_mutex);
  const auto* device = x_objects.find<DeviceObject>(ObjectId(command.dev_id));
  if (device == nullptr) return Code::NotFound;
  auto* ioas = x_objects.find<Ioas>(ObjectId(command.pt_id));
  if (ioas == nullptr) return Code::Invalid;  // also a page table: none of ours is a parent for nesting
  if (command.data_type != IOMMU_HWPT_DATA_NONE) return Code::NotSupported;
  TRY_ASSIGN(Hwpt * hwpt, make_hwpt(HwptOrigin::Explicit, *ioas, *device));
  command.out_hwpt_id = hwpt->id.value;
  const Status status = luo::write_back(call, argument, command);
  if (!status.ok()) {
    MUST(destroy_hwpt(*hwpt), "no device ever used it");
    return status.code();
  }
  return u64{0};
}

Status Iommufd::check_hwpt_alloc(const iommu_hwpt_alloc& command) const {
  if (command.__reserved != 0 || command.__reserved2 != 0) return Code::NotSupported;
  const bool has_type = command.data_type != IOMMU_HWPT_DATA_NONE;
  if (has_type != (command.data_len != 0)) return Code::Invalid;
  // Nesting, dirty tracking and PASIDs need what no unit here offers; no fault queue can have been allocated.
  if ((command.flags & ~u32{IOMMU_HWPT_FAULT_ID_VALID}) != 0) return Code::NotSupported;
  if ((command.flags & IOMMU_HWPT_FAULT_ID_VALID) != 0) return Code::NotFound;
  return {};
}

Result<Hwpt*> Iommufd::make_hwpt(HwptOrigin origin, Ioas& ioas, const DeviceObject& device) {
  const iommu::DomainOptions options{.page_sizes = ioas.leaf_sizes(), .mode = x_core.options().table_mode};
  TRY_ASSIGN(iommu::Domain * domain, x_core.create_domain(*device.device, options));
  auto hwpt = x_memory.heap.create<Hwpt>(origin, &ioas, *domain);
  Status status = hwpt.ok() ? x_objects.insert(**hwpt) : Status(hwpt.code());
  if (status.ok()) {
    status = ioas.add_hwpt(**hwpt);
    if (!status.ok()) x_objects.remove(**hwpt);
  }
  if (!status.ok()) {
    if (hwpt.ok()) x_memory.heap.destroy(*hwpt);
    MUST(x_core.destroy_domain(*domain), "no device ever used it");
    return status.code();
  }
  ++ioas.users;
  return *hwpt;
}

Status Iommufd::destroy_hwpt(Hwpt& hwpt) {
  if (hwpt.users != 0 || hwpt.preserved) return Code::Busy;
  if (hwpt.domain != nullptr) TRY(x_core.destroy_domain(*hwpt.domain));
  for (RestoredHwpt& entry : x_restored)
    if (entry.hwpt == &hwpt) entry = {entry.token, entry.domain, RestoredHwpt::State::Destroyed, nullptr};
  free_hwpt(hwpt);
  return {};
}

/// The object alone.
void Iommufd::free_hwpt(Hwpt& hwpt) {
  if (hwpt.ioas != nullptr) {
    hwpt.ioas->remove_hwpt(hwpt);
    --hwpt.ioas->users;
  }
  x_objects.remove(hwpt);
  x_memory.heap.destroy(&hwpt);
}

Result<u64> Iommufd::get_hw_info(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(iommu_hw_info command, luo::read_argument<iommu_hw_info>(call, argument, hw_info_minimum));
  if ((command.flags & ~u32{IOMMU_HW_INFO_FLAG_INPUT_TYPE}) != 0) return Code::NotSupported;
  for (const u8 reserved : command.__reserved)
    if (reserved != 0) return Code::NotSupported;
  const bool asks = (command.flags & IOMMU_HW_INFO_FLAG_INPUT_TYPE) != 0;
  if (asks && command.in_data_type > IOMMU_HW_INFO_TYPE_INTEL_VTD) return Code::NotSupported;
  Guard guard(x_mutex);
  const auto* device = x_objects.find<DeviceObject>(ObjectId(command.dev_id));
  if (device == nullptr) return Code::NotFound;

  const iommu::UnitLimits& limits = device->device->unit().limits();
  const iommu_hw_info_vtd info{
      .flags = 0, .__reserved = 0, .cap_reg = limits.capability, .ecap_reg = limits.extended_capability};
  const auto bytes = std::as_bytes(std::span<const iommu_hw_info_vtd, 1>(&info, 1));
  const u64 copied = std::min<u64>(command.data_len, bytes.size());
  if (copied != 0) TRY(call.user.write(command.data_uptr, bytes.first(copied)));
  TRY(write_zeroes(call.user, command.data_uptr + copied, command.data_len - copied));
  command.data_len = sizeof info;
  command.out_data_type = IOMMU_HW_INFO_TYPE_INTEL_VTD;
  command.out_max_pasid_log2 = 0;
  command.out_capabilities = IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED;
  TRY(luo::write_back(call, argument, command));
  return u64{0};
}

Result<u64> Iommufd::hwpt_compare(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(iommu_hwpt_compare command, luo::read_argument<iommu_hwpt_compare>(call, argument));
  Guard guard(x_mutex);
  const auto* from = x_objects.find<Hwpt>(ObjectId(command.old_id));
  const auto* to = x_objects.find<Hwpt>(ObjectId(command.new_id));
  if (from == nullptr || to == nullptr) return Code::NotFound;
  if (from->domain == nullptr || to->domain == nullptr) return Code::Invalid;
  TRY_ASSIGN(const std::optional<Iova> difference, x_core.compare(*from->domain, *to->domain));
  command.out_flags = difference ? 0 : u32{IOMMU_HWPT_COMPARE_EQUAL};
  command.out_iova = difference ? difference->value : 0;
  TRY(luo::write_back(call, argument, command));
  return u64{0};
}

}  // namespace holdfast::iommufd
