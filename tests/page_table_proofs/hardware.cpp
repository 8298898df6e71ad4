#include "tests/page_table_proofs/hardware.hpp"

#include <bit>

#include "holdfast/pt/test_formats.hpp"
#include "sim/walk/amdv1.hpp"
#include "sim/walk/arm.hpp"
#include "sim/walk/odd_geometry.hpp"
#include "sim/walk/riscv.hpp"
#include "sim/walk/tree.hpp"
#include "sim/walk/x86_first_stage.hpp"

namespace page_table_proofs {

namespace {

/// One access through tables of the test formats with contiguous leaves. Bits typed from the comments there.
struct TinyRules {
  const TableConfig& config;
  HardwareTop tree;

  [[nodiscard]] bool own_address() const { return config.format == TinyOwnAddress::format; }
  [[nodiscard]] walk::Root root() const { return {{}, tree.top, tree.levels - 1, u64{1} << top_bits()}; }
  [[nodiscard]] unsigned top_bits() const {
    return config.iova_bits > shift(tree.levels - 1) ? config.iova_bits - shift(tree.levels - 1) : 0;
  }
  [[nodiscard]] walk::Complaint input(u64 iova) const {
    const unsigned sign = config.extent == IovaExtent::SignExtended ? 1 : 0;
    const u64 prefix = walk::bits(63, config.iova_bits - sign);
    const bool low = (iova & prefix) == 0;
    const bool high = (iova & prefix) == prefix;
    if (config.extent == IovaExtent::Lower ? low : config.extent == IovaExtent::Upper ? high : low || high) return {};
    return {walk::Fault::InputRange, "outside the tables' width"};
  }
  [[nodiscard]] static unsigned shift(unsigned level) { return 12 + 3 * level; }
  [[nodiscard]] static u64 entries(unsigned) { return 8; }
  [[nodiscard]] static walk::Permissions granted() { return walk::everything; }

  [[nodiscard]] walk::Step examine(u64 word, unsigned level) const {
    const bool present =
        own_address() ? walk::is_set(word, 0) && (level != 0 || walk::is_set(word, 1)) : (word & 3) != 0;
    if (!present) return walk::refuse(walk::Fault::NotPresent, "not present");
    walk::Step step;
    step.address = PhysAddr(word & walk::bits(own_address() ? 47 : 51, 12));
    const bool leaf = level == 0 || walk::is_set(word, own_address() ? 1 : 7) != own_address();
    if (!leaf) {
      step.next_level = level - 1;
      step.permissions = walk::everything;
      return step;
    }
    step.kind = walk::Kind::Leaf;
    step.page_lg2 = shift(level);
    if (!own_address() && walk::is_set(word, 63)) {
      step.page_lg2 = static_cast<unsigned>(std::countr_zero(step.address.value)) + 1;
      step.address = PhysAddr(step.address.value & ~walk::below(step.page_lg2));
    }
    if (level > 2 || (step.address.value & walk::below(step.page_lg2)) != 0)
      return walk::refuse(walk::Fault::Reserved, "no such leaf");
    if (own_address())
      step.permissions = {.read = true, .write = !walk::is_set(word, 7) || walk::is_set(word, 51), .execute = true};
    else
      step.permissions = {.read = walk::is_set(word, 0), .write = walk::is_set(word, 1), .execute = true};
    return step;
  }
  [[nodiscard]] static walk::Complaint judge(u64, walk::Permissions allowed, walk::Access access) {
    if (allowed.allows(access)) return {};
    return {walk::Fault::Permission, "not permitted"};
  }
  [[nodiscard]] u64 touched(u64 word, walk::Kind kind, walk::Access access) const {
    const bool written = kind == walk::Kind::Leaf && access == walk::Access::Write;
    if (!own_address()) return word | walk::bit(8) | (written ? walk::bit(9) : 0);
    if (kind == walk::Kind::Leaf) word |= walk::bit(10);
    return written && walk::is_set(word, 51) ? word & ~walk::bit(7) : word;
  }
  [[nodiscard]] static u32 code(const walk::WalkResult&, walk::Access) { return 0; }
};

walk::WalkResult walk_arm(const TableConfig& config, const walk::ReadWord& read, const HardwareTop& top, u64 iova,
                          walk::Access access) {
  const auto number = static_cast<unsigned>(config.format) - static_cast<unsigned>(Format::ArmStage1Granule4K);
  walk::ArmTables tables{
      .top_table = top.top,
      .stage = number < 3 ? walk::ArmStage::One : walk::ArmStage::Two,
      .granule_lg2 = 12 + number % 3 * 2,
      .input_bits = config.iova_bits,
      .output_bits = config.phys_bits,
      .half = config.extent == IovaExtent::Upper ? walk::ArmHalf::Upper : walk::ArmHalf::Lower,
      .update = has(config.features, Features::DirtyTracking) ? walk::ArmUpdate::DirtyState : walk::ArmUpdate::Nothing,
      .res0 = walk::Res0::Refused};
  if (tables.stage == walk::ArmStage::Two) tables.start_level = 4 - top.levels;
  return walk::walk(read, tables, iova, access);
}

walk::WalkResult walk_riscv(const TableConfig& config, const walk::ReadWord& read, const HardwareTop& top, u64 iova,
                            walk::Access access) {
  const bool second = config.format == Format::RiscvSecondStage;
  return walk::walk(read,
                    walk::RiscvTables{.top_table = top.top,
                                      .levels = top.levels,
                                      .stage = second ? walk::RiscvStage::Second : walk::RiscvStage::First,
                                      .svnapot = (config.page_sizes >> 16 & 1) != 0,
                                      .physical_address_bits = config.phys_bits},
                    iova, access);
}

walk::WalkResult walk_x86(const TableConfig& config, const walk::ReadWord& read, const HardwareTop& top, u64 iova,
                          walk::Access access) {
  const bool extended = config.extent == IovaExtent::SignExtended;
  return walk::walk(
      read,
      walk::FirstStage{.top_table = top.top,
                       .levels = top.levels,
                       .host_address_bits = config.phys_bits,
                       .form = extended ? walk::AddressForm::SignExtended : walk::AddressForm::ZeroExtended,
                       .accessed_dirty = walk::AccessedDirty::Set,
                       .encryption_mask = config.encryption},
      iova, access);
}

walk::WalkResult walk_amd(const TableConfig& config, const walk::ReadWord& read, const HardwareTop& top, u64 iova,
                          walk::Access access) {
  return walk::walk(read,
                    walk::Amdv1Tables{.top_table = top.top,
                                      .mode = top.levels,
                                      .granule_lg2 = config.format == Format::AmdV1 ? 12u : 11u,
                                      .host_address_bits = config.phys_bits,
                                      .accessed_dirty = walk::AccessedDirty::Set,
                                      .encryption_mask = config.encryption},
                    iova, access);
}

walk::WalkResult walk_second_stage(const TableConfig& config, const walk::ReadWord& read, const HardwareTop& top,
                                   u64 iova, walk::Access access) {
  return walk::walk(read,
                    walk::OddTables{.top_table = top.top,
                                    .index_bits = config.format == TinyFormat::format ? 2u : 9u,
                                    .levels = top.levels,
                                    .host_address_bits = config.phys_bits,
                                    .accessed_dirty = walk::AccessedDirty::Set},
                    iova, access);
}

}  // namespace

void ProofWorld::flush_cache(const void* start, std::size_t size_bytes) {
  const auto offset = static_cast<std::size_t>(static_cast<const std::byte*>(start) - direct_map());
  std::memcpy(reinterpret_cast<std::byte*>(x_flushed.get()) + offset, start, size_bytes);
}

void ProofWorld::update(const walk::Update& update) {
  u64* word = reinterpret_cast<u64*>(direct_map() + update.entry.value);
  __atomic_store_n(word, *word ^ update.before ^ update.after, __ATOMIC_RELEASE);
  x_flushed.get()[update.entry.value / sizeof(u64)] ^= update.before ^ update.after;
}

walk::ReadWord ProofWorld::words_at(const u64* base) const {
  return [base, bytes = ram_bytes()](PhysAddr at) -> std::optional<u64> {
    if (!at.is_aligned(sizeof(u64)) || at.value >= bytes) return std::nullopt;
    return __atomic_load_n(base + at.value / sizeof(u64), __ATOMIC_ACQUIRE);
  };
}

walk::WalkResult walk_once(const Configuration& configuration, const walk::ReadWord& read, const HardwareTop& top,
                           u64 iova, walk::Access access) {
  const TableConfig& config = configuration.config;
  switch (config.format) {
    case Format::VtdSecondStage: return walk_second_stage(config, read, top, iova, access);
    case Format::X86FirstStage: return walk_x86(config, read, top, iova, access);
    case Format::AmdV1: return walk_amd(config, read, top, iova, access);
    case Format::RiscvFirstStage:
    case Format::RiscvSecondStage: return walk_riscv(config, read, top, iova, access);
    case Format::ArmStage1Granule4K:
    case Format::ArmStage1Granule16K:
    case Format::ArmStage1Granule64K:
    case Format::ArmStage2Granule4K:
    case Format::ArmStage2Granule16K:
    case Format::ArmStage2Granule64K: return walk_arm(config, read, top, iova, access);
  }
  if (config.format == TinyFormat::format) return walk_second_stage(config, read, top, iova, access);
  if (config.format == AmdV1Granule2K::format) return walk_amd(config, read, top, iova, access);
  return walk::walk_tree(read, TinyRules{config, top}, iova, access);
}

}  // namespace page_table_proofs
