// Controls: what is broken on purpose so that the proof can be seen to fail. Nothing here runs without metal.sabotage.
#pragma once

#include "holdfast/kernel/kernel.hpp"
#include "metal/metal_world.hpp"

namespace metal {

class KernelSaboteur final : public MetalWorld::Saboteur {
 public:
  KernelSaboteur(const Options& options, kernel::Kernel& kernel, pci::ConfigSpace& config)
      : x_options(options), x_kernel(kernel), x_config(config) {}
  void act(World& world) override;

 private:
  /// Register base of the unit that translates @p victim.
  PhysAddr unit_of(SourceId victim);
  void turn_translation_off(World& world, SourceId victim);
  void break_tables(World& world, SourceId victim);
  u64 break_context(const DirectMap& map, u64 roots, SourceId victim);
  u64 break_scalable_context(const DirectMap& map, u64 roots, SourceId victim);
  void break_record(SourceId victim);

  const Options& x_options;
  kernel::Kernel& x_kernel;
  pci::ConfigSpace& x_config;
};

}  // namespace metal
