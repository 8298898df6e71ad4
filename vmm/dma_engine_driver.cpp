#include "vmm/dma_engine_driver.hpp"

#include "holdfast/hw/pci/config.hpp"
#include "uapi/holdfast/holdfast.h"

namespace vmm {

namespace engine = hw::dma_engine;

template <class T>
bool DmaEngine::write_register(u64 offset, T value) {
  const u64 at = VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_BAR0_REGION_INDEX) + offset;
  return x_calls->check(x_calls->system().pwrite(x_fd, &value, sizeof value, at), "write of an engine register");
}

bool DmaEngine::start(const engine::Parameters& parameters) {
  const u16 command = static_cast<u16>(
      hw::pci::Command().with<hw::pci::command::MemorySpace>(1).with<hw::pci::command::BusMaster>(1).raw());
  const u64 command_at = VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + hw::pci::command_offset;
  if (!x_calls->check(x_calls->system().pwrite(x_fd, &command, sizeof command, command_at),
                      "write of the command register"))
    return false;
  return write_register(engine::window_iova_offset, parameters.window_iova) &&
         write_register(engine::window_bytes_offset, parameters.window_bytes) &&
         write_register(engine::file_bytes_offset, parameters.file_bytes) &&
         write_register(engine::slot_offset_offset, parameters.slot_offset) &&
         write_register(engine::seed_offset, parameters.seed) &&
         write_register(engine::ctrl_offset, engine::Ctrl().with<engine::ctrl::Run>(1).raw());
}

bool DmaEngine::stop() { return write_register(engine::ctrl_offset, engine::Ctrl().raw()); }

u64 DmaEngine::transfers() {
  u64 value = 0;
  const u64 at = VFIO_PCI_INDEX_TO_OFFSET(VFIO_PCI_BAR0_REGION_INDEX) + engine::transfers_offset;
  x_calls->check(x_calls->system().pread(x_fd, &value, sizeof value, at), "read of an engine register");
  return value;
}

}  // namespace vmm
