// The RISC-V IOMMU, first stage (Sv) or second stage (Svx4).
//
// Offsets and layouts from the manual (RISC-V IOMMU specification, chapters 2 to 5).
#include "host/run_error.hpp"
#include "sim/walk/riscv.hpp"
#include "tests/referee/machine.hpp"

namespace referee {
namespace {

using sim::walk::RiscvStage;

constexpr u64 iommu = 0x301'0000;
constexpr u64 ecam = 0x3000'0000;
constexpr u64 edu_bar = 0x4000'0000;
constexpr PhysAddr ram_start{0x8000'0000};
constexpr PhysAddr program = ram_start;
constexpr u32 wfi = 0x1050'0073;
constexpr u32 jump_back = 0xffdf'f06f;
constexpr u32 queue_lg2 = 12;  // a request that is refused makes a fault for every four bytes

std::vector<std::string> arguments() {
  return {"-M",      "virt,iommu-sys=on,memory-backend=ram",
          "-bios",   "none",
          "-device", "loader,addr=" + std::to_string(program.value) + ",cpu-num=0",
          "-device", edu_option};
}

constexpr u64 page_number(PhysAddr at) { return at.value >> 12; }

class RiscvMachine final : public Machine {
 public:
  RiscvMachine(const qemu::Binary& binary, RiscvStage stage)
      : Machine(binary, ram_with_program(ram_start, program, wfi, jump_back), arguments()), x_stage(stage) {
    EcamConfig config(qtest(), ecam, Edu::device);
    find_edu(config, edu_bar);
    qtest().write_q(iommu + 0x18, page_number(commands()) << 10 | (queue_lg2 - 1));
    qtest().write_l(iommu + 0x48, 1);
    qtest().write_q(iommu + 0x28, page_number(faults()) << 10 | (queue_lg2 - 1));
    qtest().write_l(iommu + 0x4c, 1);
    qtest().write_q(iommu + 0x10, page_number(directory()) << 10 | 2);  // one level
    wait(0x10, 0x10, 0, "a directory");
  }

  void attach(const Root& root) override {
    const PhysAddr context = directory() + 64 * Edu::requester_id;
    const u64 pointer = u64{root.levels + 5} << 60 | page_number(root.top);
    const bool first = x_stage == RiscvStage::First;
    ram().store(context + 8, first ? 0 : pointer | u64{7} << 44);
    ram().store(context + 16, u64{7} << 12);
    ram().store(context + 24, first ? pointer : 0);
    ram().store(context, 1);
    invalidate();
  }

  void invalidate() override {
    command(3, 0);                // IODIR.INVAL_DDT, every device
    command(1, 0);                // IOTINVAL.VMA, everything
    command(1 | u64{1} << 7, 0);  // IOTINVAL.GVMA, everything
    command(2, 0);                // IOFENCE.C
    qtest().write_l(iommu + 0x24, x_tail);
    wait(0x20, ~u64{0}, x_tail, "its commands");
  }

  std::optional<Record> take_fault() override {
    const u32 tail = qtest().read_l(iommu + 0x34);
    if (tail == x_head) return std::nullopt;
    const PhysAddr fault = faults() + 32 * x_head;
    // The direction is told by the cause: QEMU 10 writes the transaction type of a write for reads too.
    const auto cause = static_cast<u32>(ram().load(fault) & 0xfff);
    const bool writes = cause == 7 || cause == 15 || cause == 23;
    const Record record{cause, ram().load(fault + 16) & ~u64{0xfff}, writes ? Access::Write : Access::Read};
    x_head = tail;
    qtest().write_l(iommu + 0x30, x_head);
    qtest().write_l(iommu + 0x4c, 0x201);  // stays on, overflow forgotten
    qtest().flush();
    return record;
  }

  [[nodiscard]] WalkResult walk(const Root& root, u64 iova, Access access) const override {
    sim::walk::RiscvTables tables;
    tables.top_table = root.top;
    tables.levels = root.levels;
    tables.stage = x_stage;
    tables.svnapot = false;  // not in QEMU's capabilities
    tables.svpbmt = false;
    return sim::walk::walk(sim::walk::words_of(ram()), tables, iova, access);
  }
  [[nodiscard]] std::vector<pt::TableConfig> shapes() const override {
    const bool first = x_stage == RiscvStage::First;
    std::vector<pt::TableConfig> all;
    for (u8 levels = 3; levels <= 5; ++levels)
      add_shapes(all,
                 {.format = first ? pt::Format::RiscvFirstStage : pt::Format::RiscvSecondStage,
                  .levels = levels,
                  .iova_bits = static_cast<u8>(12 + 9 * levels + (first ? 0 : 2)),
                  .extent = first ? pt::IovaExtent::SignExtended : pt::IovaExtent::Lower},
                 0x4020'1000);
    return all;
  }
  [[nodiscard]] PhysAddr next_table(u64 entry) const override {
    return PhysAddr((entry >> 10 & 0xfff'ffff'ffff) << 12);
  }

 private:
  [[nodiscard]] PhysAddr directory() const { return ram().structures(); }
  [[nodiscard]] PhysAddr commands() const { return ram().structures() + 0x100000; }
  [[nodiscard]] PhysAddr faults() const { return ram().structures() + 0x200000; }

  // Commands and register changes are the work of a thread of QEMU's.
  void wait(u64 offset, u64 mask, u64 value, const char* what) {
    for (unsigned polls = 0; (qtest().read_l(iommu + offset) & mask) != value; ++polls)
      if (polls == 200'000)
        throw host::RunError(host::ExitCode::Internal, std::string("the RISC-V IOMMU does not take ") + what);
  }

  void command(u64 first, u64 second) {
    ram().store(commands() + 16 * x_tail, first);
    ram().store(commands() + 16 * x_tail + 8, second);
    x_tail = (x_tail + 1) % (u32{1} << queue_lg2);
  }

  RiscvStage x_stage;
  u32 x_tail = 0;
  u32 x_head = 0;
};

}  // namespace

std::unique_ptr<Machine> start_riscv_first_stage(const qemu::Binary& binary) {
  return std::make_unique<RiscvMachine>(binary, RiscvStage::First);
}
std::unique_ptr<Machine> start_riscv_second_stage(const qemu::Binary& binary) {
  return std::make_unique<RiscvMachine>(binary, RiscvStage::Second);
}

}  // namespace referee
