// Driver of the modelled DMA engine (holdfast/hw/dma_engine), through the VFIO region of its BAR 0.
#pragma once

#include "holdfast/hw/dma_engine/registers.hpp"
#include "vmm/call.hpp"

namespace vmm {

class DmaEngine {
 public:
  DmaEngine(Calls& calls, i32 device_fd) : x_calls(&calls), x_fd(device_fd) {}

  /// Turns bus mastering on, programs where the engine works, and starts it.
  bool start(const hw::dma_engine::Parameters& parameters);
  bool stop();
  /// Completed transfers; 0 when the read fails (Calls keeps the failure).
  [[nodiscard]] u64 transfers();

 private:
  template <class T>
  bool write_register(u64 offset, T value);

  Calls* x_calls;
  i32 x_fd;
};

}  // namespace vmm
