// Kernel: composes the library into one kernel: boots cold or live, serves processes, and ends in a jump.
//
// The same object in every world: placed in storage of the world's, never destroyed at a jump. Its memory is the
// machine's RAM; it has no other state.
//
// Threads: calls of processes are served one at a time under mutex(). boot() is single-threaded.
#pragma once

#include <optional>

#include "holdfast/iommu/core.hpp"
#include "holdfast/iommufd/iommufd_handler.hpp"
#include "holdfast/kernel/options.hpp"
#include "holdfast/kernel/process.hpp"
#include "holdfast/kho/handover.hpp"
#include "holdfast/kho/scratch.hpp"
#include "holdfast/luo/orchestrator.hpp"
#include "holdfast/memfd/memfd_handler.hpp"
#include "holdfast/pci/pci.hpp"
#include "holdfast/vfio/vfio_handler.hpp"
#include "holdfast/vtd/unit.hpp"

namespace holdfast::kernel {

class Kernel {
 public:
  /// @p boot is copied; what its spans refer to must outlive the kernel.
  Kernel(World& world, const BootInfo& boot);
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  /// Cold or live, once. On an error the kernel can do nothing but log it: the machine is left with translation as it
  /// was found. Errors: Invalid (command line), NoMemory, Corrupt (ACPI).
  Status boot();

  /// A new process whose memory is @p user. Errors: NoMemory.
  Result<Process*> spawn(UserMemory& user);
  /// Closes what the process has open, frees it.
  void reap(Process& process);

  /// With mutex() held: freeze and jump. Returns only when it was refused or when the jump failed, with the reason;
  /// everything is then as before.
  Code live_update();
  /// With mutex() held. Errors: NotFound, and those of the kind of file.
  Result<luo::FileRef> open_path(std::string_view path);

  [[nodiscard]] Mutex& mutex() { return x_mutex; }
  [[nodiscard]] Memory& memory() { return x_memory; }
  [[nodiscard]] iommu::Core& iommu() { return x_iommu; }
  [[nodiscard]] kho::Handover& handover() { return x_handover; }
  [[nodiscard]] luo::Orchestrator& orchestrator() { return x_orchestrator; }
  /// Memory that no kernel allocates from, for the next image: BootInfo::image_area_bytes at the end of scratch. Known
  /// once boot() has begun to use memory; empty before.
  [[nodiscard]] PhysRange image_area() const {
    return x_scratch.size_bytes == 0 ? PhysRange() : image_area_of(x_scratch);
  }
  /// Over everything that a refused call must leave as it was: objects, records, preserved set, free memory, and what
  /// hardware reads.
  [[nodiscard]] u64 state_hash() const;

 private:
  /// Bus numbers below a bridge, for the scopes of the DMAR.
  class Bridges final : public vtd::BridgeReader {
   public:
    explicit Bridges(const pci::ConfigSpace& config) : x_config(config) {}
    Result<vtd::BusRange> buses_below(u16 segment, SourceId bridge) override;

   private:
    const pci::ConfigSpace& x_config;
  };
  /// What live_update() undoes, newest first.
  enum class Readiness : u8 { Nothing, Frozen, CoreReady, ViewDropped };

  // boot.cpp
  void open_incoming_map();
  /// Live, and nothing of the previous kernel can be read: all memory is about to be given out, so a unit that might
  /// still translate must end the boot.
  [[nodiscard]] bool must_block_everything() const { return x_boot.is_live() && !x_incoming; }
  [[nodiscard]] bool spares_own_image(const PhysRange& scratch) const;
  [[nodiscard]] PhysRange image_area_of(const PhysRange& scratch) const;
  [[nodiscard]] PhysRange early_part_of(const PhysRange& scratch) const;
  Status place_scratch();
  Status find_units();
  Status take_over_units();
  Status open_memory();
  Status attach_memory_to_units();
  Status enumerate_devices();
  Status open_orchestrator();

  // live_update.cpp
  Status check_successor();
  Status check_unblocked_devices();
  Status get_ready(Readiness& reached);
  Status drop_view();
  void undo(Readiness reached);
  void report_faults();

  // kernel.cpp
  Result<luo::FileRef> open_device_file(std::string_view number);

  void log(LogLevel level, std::string_view message) { x_memory.world.log(level, message); }

  World& x_world;
  BootInfo x_boot;
  Result<Options> x_options;
  Memory x_memory;
  Mutex x_mutex;
  kho::Handover x_handover;
  iommu::Core x_iommu;
  pci::ConfigSpace x_config;
  pci::Pci x_pci;
  vfio::Devices x_devices;
  luo::Orchestrator x_orchestrator;
  memfd::MemfdHandler x_memfd_handler;
  iommufd::IommufdHandler x_iommufd_handler;
  vfio::VfioHandler x_vfio_handler;

  List<Process, &Process::x_kernel_link> x_processes;
  std::optional<kho::IncomingMap> x_incoming;  // live boot with a readable map
  PhysRange x_scratch;
  std::optional<EarlyAllocator> x_early;
  std::array<vtd::VtdUnit*, iommu::Core::max_units> x_units{};
  std::size_t x_unit_count = 0;
};

}  // namespace holdfast::kernel
