// sim::Machine behind MachineModel: its clock is this computer's.
#include "host/sim_machine.hpp"

#include <time.h>

#include "host/machine_evidence.hpp"
#include "host/run_error.hpp"

namespace host {
namespace {

u64 monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

class SimMachine final : public MachineModel {
 public:
  SimMachine(const sim::MachineConfig& config, std::span<std::byte> ram, std::span<std::byte> registers)
      : x_machine(config, {.base = ram.data(), .memory_map = sim::memory_map(config)}, registers, monotonic_ns) {}

  void write_register(const RegisterWrite& write) override {
    x_machine.mmio_write(PhysAddr(write.address), static_cast<Width>(write.width_bytes), write.value);
    if (x_machine.marks().size() != x_marks.size()) x_marks.push_back(mark_of(x_machine.marks().back()));
  }

  bool step(u64 turns) override {
    x_machine.step(turns);
    for (std::size_t device = 0; device < x_machine.device_count(); ++device)
      if (x_machine.running(device)) return true;
    return false;
  }

  [[nodiscard]] const std::vector<Mark>& marks() const override { return x_marks; }
  [[nodiscard]] MachineAudit audit() override { return audit_of(x_machine); }

 private:
  sim::Machine x_machine;
  std::vector<Mark> x_marks;
};

template <class List, class Item>
void add(List& list, const Item& item) {
  if (!list.push_back(item))
    throw RunError(ExitCode::Internal, "the machine has more parts than its description holds");
}

}  // namespace

std::unique_ptr<MachineModel> SimMachineBuilder::build(std::span<std::byte> ram, std::span<std::byte> registers,
                                                       MachineShape& shape) {
  for (const MemoryRange& part : sim::memory_map(x_config)) {
    add(shape.memory_map, part);
    const Piece piece{part.range.start.value, part.range.size_bytes, part.range.start.value};
    Piece* last = shape.ram.count == 0 ? nullptr : &shape.ram.items[shape.ram.count - 1];
    if (last != nullptr && last->address + last->size_bytes == piece.address)
      last->size_bytes += piece.size_bytes;
    else
      add(shape.ram, piece);
  }
  for (const sim::MmioRegion& region : sim::mmio_layout(x_config))
    add(shape.registers, Piece{region.start.value, region.size_bytes, region.backing_offset});
  shape.ram_file_bytes = ram_file_bytes();
  shape.register_file_bytes = register_file_bytes();
  shape.rsdp = sim::rsdp_address.value;
  shape.control_page = sim::control_start.value;
  shape.devices = static_cast<u32>(x_config.devices.size());
  return std::make_unique<SimMachine>(x_config, ram, registers);
}

}  // namespace host
