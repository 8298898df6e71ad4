// AMD's unit with host tables ("v1").
//
// Offsets and layouts from the manual (AMD I/O virtualization specification, 2.2 and 3.4). QEMU's model refuses
// requests without an event for missing pages and missing permissions, so it never has a fault to compare.
#include "host/run_error.hpp"
#include "sim/walk/amdv1.hpp"
#include "tests/referee/machine.hpp"

namespace referee {
namespace {

constexpr u64 unit = 0xfed8'0000;
constexpr u64 domain_id = 7;
constexpr u64 read_write = u64{3} << 61;
constexpr u32 queue_entries_lg2 = 8;
constexpr u64 queue_bytes = u64{16} << queue_entries_lg2;

std::vector<std::string> pc_with(const char* iommu) {
  return {"-M", pc_machine, "-device", iommu, "-device", edu_option};
}

class AmdMachine final : public Machine {
 public:
  AmdMachine(const qemu::Binary& binary, const char* iommu)
      : Machine(binary, SharedRam(PhysAddr(0)), pc_with(iommu), halting_firmware()) {
    PortConfig config(qtest(), Edu::device);
    find_edu(config, pc_edu_bar);
    qtest().write_q(unit + 0x00, devices().value | 0x1ff);
    qtest().write_q(unit + 0x08, commands().value | u64{queue_entries_lg2} << 56);
    qtest().write_q(unit + 0x10, events().value | u64{queue_entries_lg2} << 56);
    qtest().write_q(unit + 0x18, 0x1005);  // on, with event log and command buffer
    qtest().flush();
  }

  void attach(const Root& root) override {
    const PhysAddr entry = devices() + 32 * Edu::requester_id;
    ram().store(entry + 8, domain_id);
    ram().store(entry, root.top.value | u64{root.levels} << 9 | read_write | 3);
    invalidate();
  }

  void invalidate() override {
    command(u64{2} << 60 | Edu::requester_id, 0);                    // the device-table entry
    command(u64{3} << 60 | domain_id << 32, 0x7fff'ffff'ffff'f003);  // every page of the domain, tables too
    ram().store(done(), 0);
    command(u64{1} << 60 | done().value | 1, 1);  // completion wait
    qtest().write_q(unit + 0x2008, x_tail);
    qtest().flush();
    for (unsigned polls = 0; ram().load(done()) != 1; ++polls) {
      if (polls == 100'000) throw host::RunError(host::ExitCode::Internal, "the AMD unit does not complete commands");
      (void)qtest().read_q(unit + 0x2000);
    }
  }

  std::optional<Record> take_fault() override {
    const u64 head = qtest().read_q(unit + 0x2010);
    const u64 tail = qtest().read_q(unit + 0x2018);
    if (head == tail) return std::nullopt;
    const u64 first = ram().load(events() + head);
    const u64 address = ram().load(events() + head + 8);
    qtest().write_q(unit + 0x2010, tail);
    const bool writes = (first >> (32 + 16 + 5) & 1) != 0;
    return Record{static_cast<u32>(first >> 60), address & ~u64{0xfff}, writes ? Access::Write : Access::Read};
  }

  [[nodiscard]] WalkResult walk(const Root& root, u64 iova, Access access) const override {
    return sim::walk::walk(sim::walk::words_of(ram()),
                           sim::walk::Amdv1Tables{.top_table = root.top, .mode = root.levels}, iova, access);
  }
  [[nodiscard]] std::optional<u32> recorded_code(const WalkResult&, u64) const override { return std::nullopt; }
  // The manual has it refuse bits that no level decodes (2.2.3); QEMU masks them away.
  [[nodiscard]] bool checks_width() const override { return false; }
  [[nodiscard]] bool is_translated(u64 iova) const override { return iova >> 20 != 0xfee; }
  [[nodiscard]] std::vector<pt::TableConfig> shapes() const override {
    constexpr u64 every_power_of_two_to_1g = 0x7fff'f000;
    std::vector<pt::TableConfig> all;
    for (u8 levels = 2; levels <= 6; ++levels)
      add_shapes(
          all,
          {.format = pt::Format::AmdV1, .levels = levels, .iova_bits = static_cast<u8>(std::min(64, 12 + 9 * levels))},
          levels == 2 ? every_power_of_two_to_1g & 0x3fff'ffff : every_power_of_two_to_1g);
    return all;
  }

 private:
  [[nodiscard]] PhysAddr devices() const { return ram().structures(); }  // 2 MiB
  [[nodiscard]] PhysAddr commands() const { return ram().structures() + 2 * mib; }
  [[nodiscard]] PhysAddr events() const { return commands() + queue_bytes; }
  [[nodiscard]] PhysAddr done() const { return events() + queue_bytes; }

  void command(u64 first, u64 second) {
    ram().store(commands() + x_tail, first);
    ram().store(commands() + x_tail + 8, second);
    x_tail = (x_tail + 16) % queue_bytes;
  }
  u64 x_tail = 0;
};

}  // namespace

// Without pt=off QEMU 10 lets everything pass; QEMU 7 has no such option.
std::unique_ptr<Machine> start_amd_qemu7(const qemu::Binary& binary) {
  return std::make_unique<AmdMachine>(binary, "amd-iommu");
}
std::unique_ptr<Machine> start_amd_qemu10(const qemu::Binary& binary) {
  return std::make_unique<AmdMachine>(binary, "amd-iommu,pt=off");
}

}  // namespace referee
