#include "holdfast/iommufd/iommufd.hpp"

#include "holdfast/abi/checksum.hpp"
#include "holdfast/luo/ioctl.hpp"

namespace holdfast::iommufd {

Iommufd::Iommufd(Memory& memory, iommu::Core& core)
    : File(2 /* O_RDWR */),
      x_memory(memory),
      x_core(core),
      x_mutex(memory.world, LockRank::Iommufd),
      x_objects(memory.heap),
      x_restored(memory.heap) {}

Result<luo::FileRef> Iommufd::create(Memory& memory, iommu::Core& core) {
  TRY_ASSIGN(Iommufd * file, memory.heap.create<Iommufd>(memory, core));
  return luo::FileRef::adopt(file);
}

Result<luo::FileRef> Iommufd::create_restored(Memory& memory, iommu::Core& core, Vec<RestoredHwpt>&& table) {
  TRY_ASSIGN(Iommufd * file, memory.heap.create<Iommufd>(memory, core));
  file->x_is_restored = true;
  file->x_restored = std::move(table);
  return luo::FileRef::adopt(file);
}

void Iommufd::release() {
  if (x_restored_link.linked()) List<Iommufd, &Iommufd::x_restored_link>::remove(*this);
  x_objects.for_each<DeviceObject>([](DeviceObject&) { panic("an iommufd was freed while a device file used it"); });
  x_objects.for_each<Hwpt>([this](Hwpt& hwpt) {
    if (destroy_hwpt(hwpt).ok()) return;
    // Its table stays with the core, and what it maps stays where it is.
    if (hwpt.ioas != nullptr) hwpt.ioas->abandon_areas();
    free_hwpt(hwpt);
  });
  x_objects.for_each<Ioas>([this](Ioas& ioas) { free_ioas(ioas); });
  x_memory.heap.destroy(this);
}

void Iommufd::free_ioas(Ioas& ioas) {
  x_objects.remove(ioas);
  x_memory.heap.destroy(&ioas);
}

Result<u64> Iommufd::ioctl(luo::CallContext& call, u32 command, u64 argument) {
  switch (command) {
    case IOMMU_DESTROY: return destroy(call, argument);
    case IOMMU_IOAS_ALLOC: return ioas_alloc(call, argument);
    case IOMMU_IOAS_MAP_FILE: return ioas_map_file(call, argument);
    case IOMMU_IOAS_UNMAP: return ioas_unmap(call, argument);
    case IOMMU_IOAS_IOVA_RANGES: return ioas_iova_ranges(call, argument);
    case IOMMU_OPTION: return option(call, argument);
    case IOMMU_HWPT_ALLOC: return hwpt_alloc(call, argument);
    case IOMMU_GET_HW_INFO: return get_hw_info(call, argument);
    case IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE: return mark_preserve(call, argument);
    case IOMMU_HWPT_UNMARK: return unmark(call, argument);
    case IOMMU_HWPT_RESTORE: return hwpt_restore(call, argument);
    case IOMMU_HWPT_COMPARE: return hwpt_compare(call, argument);
    default: return Code::NotIoctl;
  }
}

Result<u64> Iommufd::destroy(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(const iommu_destroy command, luo::read_argument<iommu_destroy>(call, argument));
  Guard guard(x_mutex);
  Object* object = x_objects.find(ObjectId(command.id));
  if (object == nullptr) return Code::NotFound;
  TRY(destroy_object(*object));
  return u64{0};
}

Status Iommufd::destroy_object(Object& object) {
  if (object.kind == ObjectKind::Device || object.users != 0) return Code::Busy;  // a device file uses its device
  if (object.kind == ObjectKind::Hwpt) return destroy_hwpt(static_cast<Hwpt&>(object));
  free_ioas(static_cast<Ioas&>(object));
  return {};
}

u64 Iommufd::state_hash() const {
  Guard guard(x_mutex);
  u64 hash = abi::checksum_add(x_preserved, x_rlimit_mode);
  x_objects.for_each<Ioas>([&](const Ioas& ioas) { hash = abi::checksum_add(hash, ioas.state_hash()); });
  x_objects.for_each<Hwpt>([&](const Hwpt& hwpt) {
    hash = abi::checksum_add(hash, u64{hwpt.id.value} << 32 | hwpt.users);
    hash = abi::checksum_add(hash, u64{hwpt.preserved} << 1 | u64{hwpt.mark.has_value()});
    hash = abi::checksum_add(hash, hwpt.mark.value_or(0));
  });
  x_objects.for_each<DeviceObject>([&](const DeviceObject& device) {
    hash = abi::checksum_add(hash, u64{device.id.value} << 1 | u64{device.preserved});
    hash = abi::checksum_add(hash, device.hwpt == nullptr ? 0 : device.hwpt->id.value);
  });
  for (const RestoredHwpt& entry : x_restored) {
    hash = abi::checksum_add(hash, entry.token);
    hash = abi::checksum_add(hash, static_cast<u64>(entry.state));
  }
  return hash;
}

}  // namespace holdfast::iommufd
