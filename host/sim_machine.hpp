// The modelled machine (sim/) as the machine process drives it.
#pragma once

#include "host/machine_model.hpp"
#include "sim/machine.hpp"

namespace host {

class SimMachineBuilder final : public MachineBuilder {
 public:
  explicit SimMachineBuilder(sim::MachineConfig config) : x_config(std::move(config)) {}

  [[nodiscard]] u64 ram_file_bytes() const override { return sim::ram_span_bytes(x_config); }
  [[nodiscard]] u64 register_file_bytes() const override { return sim::mmio_backing_bytes(x_config); }
  std::unique_ptr<MachineModel> build(std::span<std::byte> ram, std::span<std::byte> registers,
                                      MachineShape& shape) override;

 private:
  sim::MachineConfig x_config;
};

}  // namespace host
