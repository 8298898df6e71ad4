#include "holdfast/vfio/devices.hpp"

#include "holdfast/vfio/vfio_device.hpp"

namespace holdfast::vfio {

Status Devices::open() {
  Status status;
  x_pci.for_each_function([&](pci::Function& function) {
    if (!status.ok() || function.is_bridge || function.iommu_device == nullptr) return;
    const bool crossed = function.is_incoming || function.iommu_device->state() != iommu::Device::State::Normal;
    status = x_slots.push_back({.function = &function, .incoming = crossed});
  });
  if (!status.ok()) x_slots.clear();
  return status;
}

void Devices::close() {
  for (const Slot& slot : x_slots) verify_invariant(slot.files == 0, "device files outlive the devices");
  x_slots.clear();
}

Result<luo::FileRef> Devices::open_device(u64 number) {
  if (number >= x_slots.size()) return Code::NotFound;
  Slot& slot = x_slots[number];
  if (slot.incoming || slot.device().state() != iommu::Device::State::Normal) return Code::Busy;
  if (slot.files == 0) {
    if (slot.device().owner() != nullptr) return Code::Busy;  // a driver of the kernel's own
    const Status reset = x_pci.reset(*slot.function);
    if (!reset.ok() && reset.code() != Code::NotSupported) return reset.code();
  }
  return VfioDevice::create(*this, slot);
}

Result<Slot*> Devices::find(u16 segment, SourceId id) {
  for (Slot& slot : x_slots)
    if (slot.function->segment == segment && slot.function->id == id) return &slot;
  return Code::NoDevice;
}

void Devices::for_each(kho::Visitor<Slot&> visit) {
  for (Slot& slot : x_slots) visit(slot);
}

void Devices::file_closed(Slot& slot) {
  if (--slot.files != 0 || slot.incoming || slot.device().owner() != nullptr) return;
  x_pci.set_bus_master(*slot.function, pci::BusMaster::Off);
  const Status reset = x_pci.reset(*slot.function);
  if (!reset.ok() && reset.code() != Code::NotSupported)
    x_memory.world.log(LogLevel::Warning, "vfio: a device did not come out of its reset");
}

}  // namespace holdfast::vfio
