// What device files ask of an iommufd: bind, attach, replace, detach, preserve.
#include "holdfast/iommufd/iommufd.hpp"

namespace holdfast::iommufd {

Result<ObjectId> Iommufd::bind(iommu::Device& device, std::optional<u64> token) {
  Guard guard(x_mutex);
  if (device.owner() == this) return Code::Busy;  // through another device file
  TRY(x_core.claim_owner(device, this, token));
  auto object = x_memory.heap.create<DeviceObject>(device);
  Status status = object.ok() ? x_objects.insert(**object) : Status(object.code());
  if (!status.ok()) {
    if (object.ok()) x_memory.heap.destroy(*object);
    x_core.release_owner(device, this);
    return status.code();
  }
  // Its page table may have been taken back before it was bound.
  for (RestoredHwpt& entry : x_restored) {
    if (entry.hwpt == nullptr || entry.hwpt->domain == nullptr || entry.hwpt->domain != device.domain()) continue;
    (*object)->hwpt = entry.hwpt;
    ++entry.hwpt->users;
  }
  return (*object)->id;
}

void Iommufd::unbind(ObjectId id) {
  Guard guard(x_mutex);
  auto* device = x_objects.find<DeviceObject>(id);
  verify_invariant(device != nullptr && !device->preserved, "unbound a device that is not bound, or is preserved");
  const bool ours = device->device->owner() == this;  // else it was dropped, and is somebody else's by now
  if (ours && !x_core.detach(*device->device).ok())
    x_memory.world.log(LogLevel::Error, "iommufd: a device could not be detached: its unit does not answer");
  leave(*device, nullptr, nullptr);
  x_core.release_owner(*device->device, this);
  x_objects.remove(*device);
  x_memory.heap.destroy(device);
}

Result<ObjectId> Iommufd::attach(ObjectId id, ObjectId pt) {
  Guard guard(x_mutex);
  auto* device = x_objects.find<DeviceObject>(id);
  if (device == nullptr) return Code::NotFound;
  if (device->preserved) return Code::Busy;
  if (device->device->owner() != this) return Code::NoDevice;
  Object* target = x_objects.find(pt);
  if (target == nullptr) return Code::NotFound;
  if (target->kind == ObjectKind::Device) return Code::Invalid;
  if (target->kind == ObjectKind::Hwpt) {
    TRY(attach_to_hwpt(*device, static_cast<Hwpt&>(*target)));
    return pt;
  }
  TRY_ASSIGN(const Hwpt* hwpt, attach_to_ioas(*device, static_cast<Ioas&>(*target)));
  return hwpt->id;
}

Status Iommufd::attach_to_hwpt(DeviceObject& device, Hwpt& hwpt) {
  if (device.hwpt == &hwpt) return {};
  if (hwpt.ioas == nullptr) return Code::Invalid;  // a restored page table takes no device
  Ioas* const left = device.hwpt != nullptr ? device.hwpt->ioas : nullptr;
  const bool moves = left != hwpt.ioas;
  if (moves) TRY(hwpt.ioas->add_device(device));
  const Status status = x_core.attach(*device.device, *hwpt.domain);
  if (!status.ok()) {
    if (moves) hwpt.ioas->remove_device(device);
    return status;
  }
  ++hwpt.users;
  leave(device, &hwpt, hwpt.ioas);
  return {};
}

/// The page table it was attached to is behind it; @p hwpt is what it is attached to now.
void Iommufd::leave(DeviceObject& device, Hwpt* hwpt, const Ioas* staying_in) {
  Hwpt* const old = std::exchange(device.hwpt, hwpt);
  if (old == nullptr) return;
  --old->users;
  if (old->ioas != nullptr && old->ioas != staying_in) old->ioas->remove_device(device);
  drop_if_unused(*old);
}

/// An automatic page table lives as long as a device uses it, or its unit does not say that it has forgotten it: the
/// next attach to its address space takes it then.
void Iommufd::drop_if_unused(Hwpt& hwpt) {
  if (hwpt.origin == HwptOrigin::Auto && hwpt.users == 0 && !destroy_hwpt(hwpt).ok())
    x_memory.world.log(LogLevel::Error, "iommufd: an automatic page table stays: its unit does not answer");
}

Result<Hwpt*> Iommufd::attach_to_ioas(DeviceObject& device, Ioas& ioas) {
  for (Hwpt* hwpt : ioas.hwpts()) {
    if (hwpt->origin != HwptOrigin::Auto) continue;
    const Status status = attach_to_hwpt(device, *hwpt);
    if (status.ok()) return hwpt;
    if (status.code() != Code::Invalid) return status.code();  // Invalid: made for another kind of unit
  }
  TRY_ASSIGN(Hwpt * hwpt, make_hwpt(HwptOrigin::Auto, ioas, device));
  const Status status = attach_to_hwpt(device, *hwpt);
  if (!status.ok()) {
    drop_if_unused(*hwpt);
    return status.code();
  }
  return hwpt;
}

Status Iommufd::detach(ObjectId id) {
  Guard guard(x_mutex);
  auto* device = x_objects.find<DeviceObject>(id);
  if (device == nullptr) return Code::NotFound;
  if (device->preserved) return Code::Busy;
  if (device->device->owner() != this) return Code::NoDevice;
  TRY(x_core.detach(*device->device));
  leave(*device, nullptr, nullptr);
  return {};
}

bool Iommufd::is_attached(ObjectId id) const {
  Guard guard(x_mutex);
  const auto* device = x_objects.find<DeviceObject>(id);
  return device != nullptr && device->device->domain() != nullptr;
}

bool Iommufd::is_on_restored(ObjectId id) const {
  Guard guard(x_mutex);
  const auto* device = x_objects.find<DeviceObject>(id);
  return device != nullptr && device->device->domain() != nullptr && device->device->domain()->is_restored();
}

Result<Iommufd::Attachment> Iommufd::preserve_device(ObjectId id, u64 owner_token) {
  Guard guard(x_mutex);
  auto* device = x_objects.find<DeviceObject>(id);
  if (device == nullptr || device->device->domain() == nullptr) return Code::NotFound;
  if (device->hwpt == nullptr || !device->hwpt->preserved) return Code::Invalid;
  TRY(x_core.preserve_device(*device->device, owner_token));
  device->preserved = true;
  return Attachment{device->hwpt->mark.value(), device->hwpt->domain->record()};
}

void Iommufd::unpreserve_device(ObjectId id) {
  Guard guard(x_mutex);
  auto* device = x_objects.find<DeviceObject>(id);
  verify_invariant(device != nullptr && device->preserved, "unpreserved a device that is not preserved");
  x_core.unpreserve_device(*device->device);
  device->preserved = false;
}

}  // namespace holdfast::iommufd
