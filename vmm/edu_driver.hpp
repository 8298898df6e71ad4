// Driver of QEMU's edu device (holdfast/hw/edu): one DMA transfer at a time, which takes 100 ms.
#pragma once

#include "holdfast/hw/edu/registers.hpp"
#include "vmm/device_access.hpp"

namespace vmm {

class Edu {
 public:
  explicit Edu(DeviceFile device) : x_device(device) {}

  /// Checks that it is one, and lets it do DMA.
  bool start();
  /// Begins to copy @p bytes between @p iova and the start of the device's memory. No transfer is under way.
  enum class Direction : u8 { FromRam, ToRam };
  bool transfer(Direction direction, u64 iova, u64 bytes);
  bool read_busy(bool& busy);

 private:
  DeviceFile x_device;
};

}  // namespace vmm
