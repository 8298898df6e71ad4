// Devices: the functions that device files exist for: /dev/vfio/devices/vfio0, vfio1, ... in the order of the PCI walk.
//
// Contract: made after Pci::scan() and outlives every device file. The first open of a function resets it, unless the
// previous kernel kept it running: such a one cannot be opened at all (Busy); its file is retrieved from its session.
// The last close takes bus mastering away and resets it again.
// Threads: LockRank::Kernel. Failure: Result.
#pragma once

#include "holdfast/iommufd/iommufd.hpp"
#include "holdfast/pci/pci.hpp"

namespace holdfast::vfio {

class VfioDevice;

/// One function and who has it open.
struct Slot {
  pci::Function* function = nullptr;
  bool incoming = false;        // kept running by the previous kernel, and not finished
  u32 files = 0;                // open device files
  VfioDevice* bound = nullptr;  // the one of them that gave it to an iommufd

  [[nodiscard]] iommu::Device& device() const { return *function->iommu_device; }
};

class Devices {
 public:
  Devices(Memory& memory, pci::Pci& pci) : x_memory(memory), x_pci(pci), x_slots(memory.heap) {}
  Devices(const Devices&) = delete;
  Devices& operator=(const Devices&) = delete;

  /// After Pci::scan(), once. Error: NoMemory.
  Status open();
  /// No file is open any more.
  void close();
  [[nodiscard]] u64 count() const { return x_slots.size(); }

  /// open("/dev/vfio/devices/vfio<number>"). Errors: NotFound, Busy (incoming or quarantined), NoMemory, TimedOut.
  Result<luo::FileRef> open_device(u64 number);

  [[nodiscard]] pci::Pci& pci() const { return x_pci; }
  [[nodiscard]] Memory& memory() const { return x_memory; }
  /// Error: NoDevice.
  [[nodiscard]] Result<Slot*> find(u16 segment, SourceId id);
  void for_each(kho::Visitor<Slot&> visit);
  /// A file of @p slot was closed.
  void file_closed(Slot& slot);

 private:
  Memory& x_memory;
  pci::Pci& x_pci;
  Vec<Slot> x_slots;  // fixed after open(): files point into it
};

}  // namespace holdfast::vfio
