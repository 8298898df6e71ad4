// Arm's SMMUv3, stage 1 or stage 2.
//
// Offsets and layouts from the manual (IHI 0070, chapters 4 to 7).
#include "host/run_error.hpp"
#include "sim/walk/arm.hpp"
#include "tests/referee/machine.hpp"

namespace referee {
namespace {

using sim::walk::ArmStage;

constexpr u64 smmu = 0x0905'0000;
constexpr u64 ecam = 0x40'1000'0000;
constexpr u64 edu_bar = 0x1000'0000;
constexpr PhysAddr ram_start{0x4000'0000};
constexpr PhysAddr program{0x4040'0000};  // the device tree is at the start
constexpr u32 wfi = 0xd503'207f;
constexpr u32 branch_back = 0x17ff'ffff;
constexpr unsigned output_bits = 44;
constexpr u64 output_size_code = 4;  // 44 bits
constexpr u32 queue_lg2 = 12;        // a request that is refused makes an event for every four bytes

std::vector<std::string> arguments(ArmStage stage) {
  std::vector<std::string> line{"-M",      "virt,iommu=smmuv3,memory-backend=ram",
                                "-cpu",    "cortex-a57",
                                "-device", "loader,addr=" + std::to_string(program.value) + ",cpu-num=0",
                                "-device", edu_option};
  if (stage == ArmStage::Two) line.insert(line.end(), {"-global", "arm-smmuv3.stage=2"});
  return line;
}

/// TG0 of a context descriptor and TG of VTCR.
u64 granule_code(unsigned granule_lg2) { return granule_lg2 == 12 ? 0 : granule_lg2 == 16 ? 1 : 2; }

// Sizes of blocks and of contiguous runs.
constexpr u64 sizes_4k = 0x1000 | 64 << 10 | 2 * mib | 32 * mib | gib;
constexpr u64 sizes_16k = 16 << 10 | 2 * mib | 32 * mib | gib;
constexpr u64 sizes_64k = 64 << 10 | 2 * mib | 512 * mib;

pt::TableConfig shape(pt::Format format, u8 levels, u8 iova_bits) {
  return {.format = format, .levels = levels, .iova_bits = iova_bits, .phys_bits = output_bits};
}

std::vector<pt::TableConfig> stage1_shapes() {
  using enum pt::Format;
  std::vector<pt::TableConfig> all;
  for (const auto& [levels, bits] : {std::pair<u8, u8>{4, 48}, {4, 42}, {3, 39}, {3, 32}})
    add_shapes(all, shape(ArmStage1Granule4K, levels, bits), sizes_4k);
  for (const auto& [levels, bits] : {std::pair<u8, u8>{4, 48}, {3, 47}, {3, 38}})
    add_shapes(all, shape(ArmStage1Granule16K, levels, bits), sizes_16k);
  for (const auto& [levels, bits] : {std::pair<u8, u8>{3, 48}, {2, 42}, {2, 36}})
    add_shapes(all, shape(ArmStage1Granule64K, levels, bits), sizes_64k);
  return all;
}

// Inputs are no wider than outputs. Trees whose top is several tables side by side are left out: QEMU 10.0 uses the
// first of them for all addresses (see known_differences_test.cpp).
std::vector<pt::TableConfig> stage2_shapes() {
  using enum pt::Format;
  std::vector<pt::TableConfig> all;
  for (const auto& [levels, bits] : {std::pair<u8, u8>{4, 44}, {3, 39}, {3, 33}, {2, 30}})
    add_shapes(all, shape(ArmStage2Granule4K, levels, bits), sizes_4k);
  for (const auto& [levels, bits] : {std::pair<u8, u8>{3, 44}, {2, 36}})
    add_shapes(all, shape(ArmStage2Granule16K, levels, bits), sizes_16k);
  for (const auto& [levels, bits] : {std::pair<u8, u8>{3, 44}, {2, 42}})
    add_shapes(all, shape(ArmStage2Granule64K, levels, bits), sizes_64k);
  return all;
}

class SmmuMachine final : public Machine {
 public:
  SmmuMachine(const qemu::Binary& binary, ArmStage stage)
      : Machine(binary, ram_with_program(ram_start, program, wfi, branch_back), arguments(stage)), x_stage(stage) {
    EcamConfig config(qtest(), ecam, Edu::device);
    find_edu(config, edu_bar);
    qtest().write_q(smmu + 0x80, streams().value);
    qtest().write_l(smmu + 0x88, 8);  // 256 entries, linear
    qtest().write_q(smmu + 0x90, commands().value | queue_lg2);
    qtest().write_q(smmu + 0xa0, events().value | queue_lg2);
    qtest().write_l(smmu + 0x20, 0xd);  // on, with event and command queue
    if (qtest().read_l(smmu + 0x24) != 0xd) throw host::RunError(host::ExitCode::Internal, "the SMMU is not on");
  }

  void attach(const Root& root) override {
    const PhysAddr entry = streams() + 64 * Edu::requester_id;
    if (x_stage == ArmStage::One)
      attach_stage1(entry, root);
    else
      attach_stage2(entry, root);
    invalidate();
  }

  void invalidate() override {
    command(0x04, 31);  // CFGI_ALL
    command(x_stage == ArmStage::One ? 0x10 : 0x30, 0);
    command(0x46, 0);  // SYNC
    qtest().write_l(smmu + 0x98, x_produced);
    for (unsigned polls = 0;; ++polls) {
      const u32 consumed = qtest().read_l(smmu + 0x9c);
      if (consumed == x_produced) break;
      if ((consumed >> 24 & 0x7f) != 0 || polls == 100'000)
        throw host::RunError(host::ExitCode::Internal, "the SMMU does not carry out commands");
    }
  }

  std::optional<Record> take_fault() override {
    const u32 produced = qtest().read_l(smmu + 0x100a8);
    if (produced == x_consumed) return std::nullopt;
    const PhysAddr event = events() + 32 * (x_consumed & ((u32{1} << queue_lg2) - 1));
    const Record record{static_cast<u32>(ram().load(event) & 0xff), ram().load(event + 16) & ~u64{0xfff},
                        (ram().load(event + 8) >> 35 & 1) != 0 ? Access::Read : Access::Write};
    x_consumed = produced;
    qtest().write_l(smmu + 0x100ac, x_consumed);
    qtest().flush();
    return record;
  }

  [[nodiscard]] WalkResult walk(const Root& root, u64 iova, Access access) const override {
    sim::walk::ArmTables tables;
    tables.top_table = root.top;
    tables.stage = x_stage;
    tables.granule_lg2 = root.granule_lg2;
    tables.input_bits = root.iova_bits;
    tables.output_bits = output_bits;
    if (x_stage == ArmStage::Two) tables.start_level = 4 - root.levels;
    return sim::walk::walk(sim::walk::words_of(ram()), tables, iova, access);
  }
  // QEMU 7 shows its SMMU 48 bits of address, and QEMU 10 judges no stage-2 input wider than its output: what is beyond
  // is refused without a word.
  [[nodiscard]] std::optional<u32> recorded_code(const WalkResult& result, u64 iova) const override {
    if (iova >> (x_stage == ArmStage::One ? 48 : output_bits) != 0) return std::nullopt;
    return result.code;
  }
  [[nodiscard]] std::vector<pt::TableConfig> shapes() const override {
    return x_stage == ArmStage::One ? stage1_shapes() : stage2_shapes();
  }

 private:
  [[nodiscard]] PhysAddr streams() const { return ram().structures(); }
  [[nodiscard]] PhysAddr contexts() const { return ram().structures() + 0x10000; }
  [[nodiscard]] PhysAddr commands() const { return ram().structures() + 0x100000; }
  [[nodiscard]] PhysAddr events() const { return ram().structures() + 0x200000; }

  void attach_stage1(PhysAddr entry, const Root& root) {
    constexpr u64 stage1_only = 5 << 1;
    ram().store(contexts(), (64 - root.iova_bits) | granule_code(root.granule_lg2) << 6 | u64{1} << 30 | u64{1} << 31 |
                                output_size_code << 32 | u64{1} << 41 | u64{1} << 45 | u64{1} << 46 | u64{7} << 48);
    ram().store(contexts() + 8, root.top.value);
    ram().store(entry, contexts().value | stage1_only | 1);
  }

  void attach_stage2(PhysAddr entry, const Root& root) {
    constexpr u64 stage2_only = 6 << 1;
    // SL0: 0 starts at level 2 with 4-KiB granules (3 with others), each more one level higher.
    const u64 start = root.granule_lg2 == 12 ? root.levels - 2 : root.levels - 1;
    const u64 vtcr = (64 - root.iova_bits) | start << 6 | granule_code(root.granule_lg2) << 14 | output_size_code << 16;
    ram().store(entry + 16, 7 | vtcr << 32 | u64{1} << 51 | u64{1} << 58);
    ram().store(entry + 24, root.top.value);
    ram().store(entry, stage2_only | 1);
  }

  void command(u64 first, u64 second) {
    const PhysAddr slot = commands() + 16 * (x_produced & ((u32{1} << queue_lg2) - 1));
    ram().store(slot, first);
    ram().store(slot + 8, second);
    x_produced = (x_produced + 1) & ((u32{2} << queue_lg2) - 1);
  }

  ArmStage x_stage;
  u32 x_produced = 0;
  u32 x_consumed = 0;
};

}  // namespace

std::unique_ptr<Machine> start_smmu_stage1(const qemu::Binary& binary) {
  return std::make_unique<SmmuMachine>(binary, ArmStage::One);
}
std::unique_ptr<Machine> start_smmu_stage2(const qemu::Binary& binary) {
  return std::make_unique<SmmuMachine>(binary, ArmStage::Two);
}

}  // namespace referee
