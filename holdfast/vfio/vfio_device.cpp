#include "holdfast/vfio/vfio_device.hpp"

#include "holdfast/luo/ioctl.hpp"
#include "uapi/holdfast/vfio.h"

namespace holdfast::vfio {
namespace {

constexpr u64 bind_minimum = offsetof(vfio_device_bind_iommufd, out_devid) + sizeof(u32);
constexpr u64 attach_minimum = offsetof(vfio_device_attach_iommufd_pt, pt_id) + sizeof(u32);
constexpr u64 detach_minimum = offsetof(vfio_device_detach_iommufd_pt, flags) + sizeof(u32);
constexpr u64 info_minimum = offsetof(vfio_device_info, num_irqs) + sizeof(u32);

}  // namespace

Result<luo::FileRef> VfioDevice::create(Devices& devices, Slot& slot) {
  TRY_ASSIGN(VfioDevice * file, devices.memory().heap.create<VfioDevice>(devices, slot));
  ++slot.files;
  return luo::FileRef::adopt(file);
}

void VfioDevice::release() {
  verify_invariant(!x_preserved, "a device file was freed while it was preserved");
  if (iommufd() != nullptr) iommufd()->unbind(x_device_id);
  if (is_bound()) x_slot.bound = nullptr;
  x_iommufd = {};
  Devices& devices = x_devices;
  Slot& slot = x_slot;
  devices.memory().heap.destroy(this);
  devices.file_closed(slot);
}

Result<u64> VfioDevice::ioctl(luo::CallContext& call, u32 command, u64 argument) {
  if (x_revoked) return Code::NoDevice;
  if (command == VFIO_DEVICE_BIND_IOMMUFD) return bind(call, argument);
  if (!is_bound()) return Code::Invalid;
  switch (command) {
    case VFIO_DEVICE_ATTACH_IOMMUFD_PT: return attach(call, argument);
    case VFIO_DEVICE_DETACH_IOMMUFD_PT: return detach(call, argument);
    case VFIO_DEVICE_GET_INFO: return get_info(call, argument);
    case VFIO_DEVICE_GET_REGION_INFO: return get_region_info(call, argument);
    case VFIO_DEVICE_RESET: return reset();
    default: return Code::NotIoctl;
  }
}

Result<u64> VfioDevice::bind(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(auto command, luo::read_argument<vfio_device_bind_iommufd>(call, argument, bind_minimum));
  if (command.flags != 0 || command.iommufd < 0) return Code::Invalid;  // the token is for virtual functions
  const bool came_bound = is_bound() && x_retrieved;
  if (x_slot.bound != nullptr && !came_bound) return Code::Invalid;
  TRY_ASSIGN(luo::FileRef file, call.fds.get(command.iommufd));
  if (luo::file_cast<iommufd::Iommufd>(file.get()) == nullptr) return Code::BadFdState;
  TRY(luo::write_back(call, argument, command));  // an address that cannot be answered to changes nothing
  if (came_bound && file.get() != x_iommufd.get()) return Code::NotPermitted;
  if (!came_bound) TRY(bind_to(std::move(file)));
  command.out_devid = x_device_id.value;
  TRY(luo::write_back(call, argument, command));
  return u64{0};
}

Status VfioDevice::bind_to(luo::FileRef file) {
  auto* iommufd = luo::file_cast<iommufd::Iommufd>(file.get());
  TRY_ASSIGN(x_device_id, iommufd->bind(x_slot.device()));
  x_iommufd = std::move(file);
  x_slot.bound = this;
  return {};
}

Status VfioDevice::bind_restored(luo::FileRef file, u64 token) {
  auto* iommufd = luo::file_cast<iommufd::Iommufd>(file.get());
  TRY_ASSIGN(x_device_id, iommufd->bind(x_slot.device(), token));
  x_iommufd = std::move(file);
  x_slot.bound = this;
  x_retrieved = true;
  return {};
}

Result<u64> VfioDevice::attach(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(auto command, luo::read_argument<vfio_device_attach_iommufd_pt>(call, argument, attach_minimum));
  if ((command.flags & ~VFIO_DEVICE_ATTACH_PASID) != 0) return Code::Invalid;
  if ((command.flags & VFIO_DEVICE_ATTACH_PASID) != 0) return Code::NotSupported;
  if (x_preserved) return Code::Busy;
  TRY(luo::write_back(call, argument, command));
  TRY_ASSIGN(const ObjectId hwpt, iommufd()->attach(x_device_id, ObjectId(command.pt_id)));
  command.pt_id = hwpt.value;
  TRY(luo::write_back(call, argument, command));
  return u64{0};
}

Result<u64> VfioDevice::detach(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(const auto command, luo::read_argument<vfio_device_detach_iommufd_pt>(call, argument, detach_minimum));
  if ((command.flags & ~VFIO_DEVICE_DETACH_PASID) != 0) return Code::Invalid;
  if ((command.flags & VFIO_DEVICE_DETACH_PASID) != 0) return Code::NotSupported;
  if (x_preserved) return Code::Busy;
  TRY(iommufd()->detach(x_device_id));
  return u64{0};
}

Result<u64> VfioDevice::get_info(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(auto command, luo::read_argument<vfio_device_info>(call, argument, info_minimum));
  command.flags = VFIO_DEVICE_FLAGS_PCI | (has_function_reset() ? VFIO_DEVICE_FLAGS_RESET : 0);
  command.num_regions = VFIO_PCI_NUM_REGIONS;
  command.num_irqs = VFIO_PCI_NUM_IRQS;
  command.cap_offset = 0;
  TRY(luo::write_back(call, argument, command));
  return u64{0};
}

Result<u64> VfioDevice::get_region_info(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(auto command, luo::read_argument<vfio_region_info>(call, argument));
  if (command.index >= VFIO_PCI_VGA_REGION_INDEX) return Code::Invalid;
  command.size = region_size(command.index);
  command.flags = command.size != 0 ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;
  command.offset = VFIO_PCI_INDEX_TO_OFFSET(command.index);
  command.cap_offset = 0;
  TRY(luo::write_back(call, argument, command));
  return u64{0};
}

Result<u64> VfioDevice::reset() {
  if (x_preserved) return Code::Busy;
  if (!has_function_reset()) return Code::Invalid;
  TRY(x_devices.pci().reset(*x_slot.function));
  return u64{0};
}

}  // namespace holdfast::vfio
