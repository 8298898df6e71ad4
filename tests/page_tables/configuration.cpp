#include "tests/page_tables/configuration.hpp"

#include <algorithm>
#include <ostream>
#include <stdexcept>

#include "holdfast/pt/digest.hpp"
#include "holdfast/pt/formats.hpp"
#include "sim/walk/amdv1.hpp"
#include "sim/walk/arm.hpp"
#include "sim/walk/odd_geometry.hpp"
#include "sim/walk/riscv.hpp"
#include "sim/walk/x86_first_stage.hpp"
#include "tests/page_tables/test_format_tables.hpp"

namespace page_tables {
namespace {

using Sizes = std::vector<std::vector<unsigned>>;

walk::Enumeration enumerate_amd(const walk::ReadWord& read, const TableConfig& config, PhysAddr top, unsigned levels,
                                const walk::VisitLeaf& visit) {
  return enumerate_leaves(read,
                          walk::Amdv1Tables{.top_table = top,
                                            .mode = levels,
                                            .host_address_bits = config.phys_bits,
                                            .encryption_mask = config.encryption},
                          visit);
}

walk::Enumeration enumerate_x86(const walk::ReadWord& read, const TableConfig& config, PhysAddr top, unsigned levels,
                                const walk::VisitLeaf& visit) {
  const bool extended = config.extent == IovaExtent::SignExtended;
  return enumerate_leaves(
      read,
      walk::FirstStage{.top_table = top,
                       .levels = levels,
                       .host_address_bits = config.phys_bits,
                       .form = extended ? walk::AddressForm::SignExtended : walk::AddressForm::ZeroExtended,
                       .execute_disable = walk::ExecuteDisable::Reserved,
                       .encryption_mask = config.encryption},
      visit);
}

walk::Enumeration enumerate_vtd(const walk::ReadWord& read, const TableConfig& config, PhysAddr top, unsigned levels,
                                const walk::VisitLeaf& visit) {
  return enumerate_leaves(
      read, walk::OddTables{.top_table = top, .index_bits = 9, .levels = levels, .host_address_bits = config.phys_bits},
      visit);
}

walk::Enumeration enumerate_riscv(const walk::ReadWord& read, const TableConfig& config, PhysAddr top, unsigned levels,
                                  const walk::VisitLeaf& visit) {
  const bool second = config.format == Format::RiscvSecondStage;
  return enumerate_leaves(read,
                          walk::RiscvTables{.top_table = top,
                                            .levels = levels,
                                            .stage = second ? walk::RiscvStage::Second : walk::RiscvStage::First,
                                            .svnapot = (config.page_sizes >> 16 & 1) != 0,
                                            .physical_address_bits = config.phys_bits},
                          visit);
}

template <walk::ArmStage stage, unsigned granule_lg2>
walk::Enumeration enumerate_arm(const walk::ReadWord& read, const TableConfig& config, PhysAddr top, unsigned levels,
                                const walk::VisitLeaf& visit) {
  walk::ArmTables tables{
      .top_table = top,
      .stage = stage,
      .granule_lg2 = granule_lg2,
      .input_bits = config.iova_bits,
      .output_bits = config.phys_bits,
      .half = config.extent == IovaExtent::Upper ? walk::ArmHalf::Upper : walk::ArmHalf::Lower,
      .update = has(config.features, Features::DirtyTracking) ? walk::ArmUpdate::DirtyState : walk::ArmUpdate::Nothing,
      .res0 = walk::Res0::Refused};
  if (stage == walk::ArmStage::Two) tables.start_level = 4 - levels;
  return enumerate_leaves(read, tables, visit);
}

template <class F>
constexpr Items items_of{
    .table = &F::table,
    .leaf = [](PhysAddr address, unsigned level,
               unsigned size_lg2) { return F::leaf(address, level, size_lg2, *F::attributes_of(Prot::ReadWrite, {})); },
    .digest = &table_digest<F>};

/// The union of @p sizes, for TableConfig::page_sizes.
u64 bits_of(const Sizes& sizes) {
  u64 bits = 0;
  for (const auto& level : sizes)
    for (const unsigned size_lg2 : level) bits |= u64{1} << size_lg2;
  return bits;
}

/// Fills in what follows from the rest.
Configuration finish(Configuration c, Sizes all_sizes) {
  if (c.max_levels == 0) c.max_levels = c.config.levels;
  if (all_sizes.size() > c.max_levels) all_sizes.resize(c.max_levels);
  c.sizes = std::move(all_sizes);
  c.config.page_sizes = bits_of(c.sizes);
  if (c.create == nullptr) c.create = &Table::create;
  return c;
}

/// AMDv1 has every power of two but half a tebibyte, and no leaf at its highest level.
Sizes amd_sizes(unsigned granule_lg2, unsigned levels, unsigned phys_bits) {
  Sizes sizes(levels);
  for (unsigned level = 0; level + 1 < levels; ++level)
    for (unsigned i = 0; i < 9; ++i)
      if (const unsigned size_lg2 = granule_lg2 + 9 * level + i; size_lg2 != 39 && size_lg2 < phys_bits)
        sizes[level].push_back(size_lg2);
  return sizes;
}

void add_amd(std::vector<Configuration>& all) {
  const Configuration amd{.config = {.format = Format::AmdV1, .phys_bits = 52},
                          .dirty = true,
                          .reserved_bit = 52,
                          .items = items_of<AmdV1>,
                          .enumerate = &enumerate_amd};
  Configuration growing = amd;
  growing.name = "amdv1_growing";
  growing.config.levels = 2;
  growing.config.iova_bits = 64;
  growing.config.dynamic_top = true;
  growing.max_levels = 6;
  all.push_back(finish(growing, amd_sizes(12, 6, 52)));
  for (const unsigned levels : {3u, 4u, 5u, 6u}) {
    Configuration fixed = amd;
    fixed.name = "amdv1_" + std::to_string(levels) + "_levels";
    fixed.config.levels = static_cast<u8>(levels);
    fixed.config.iova_bits = static_cast<u8>(levels == 6 ? 64 : 12 + 9 * levels);
    all.push_back(finish(fixed, amd_sizes(12, 6, 52)));
  }
  Configuration encrypted = amd;
  encrypted.name = "amdv1_encrypted";
  encrypted.config.phys_bits = 47;
  encrypted.config.encryption = u64{1} << 47;
  encrypted.config.features = Features::ForceCoherence;
  all.push_back(finish(encrypted, amd_sizes(12, 6, 47)));
}

void add_x86(std::vector<Configuration>& all) {
  const auto add = [&](const char* name, unsigned levels, unsigned bits, IovaExtent extent, u64 encryption) {
    Configuration c{.name = name,
                    .config = {.format = Format::X86FirstStage,
                               .levels = static_cast<u8>(levels),
                               .iova_bits = static_cast<u8>(bits),
                               .phys_bits = static_cast<u8>(encryption != 0 ? 47 : 52),
                               .coherent = encryption != 0,
                               .extent = extent,
                               .encryption = encryption},
                    .kept = Prot::Write,
                    .always = Prot::Read,
                    .reserved_bit = 63,
                    .items = items_of<X86FirstStage>,
                    .enumerate = &enumerate_x86};
    all.push_back(finish(c, {{12}, {21}, {30}, {}, {}}));
  };
  add("x86_48_sign", 4, 48, IovaExtent::SignExtended, 0);
  add("x86_57_sign", 5, 57, IovaExtent::SignExtended, 0);
  add("x86_47_lower", 4, 47, IovaExtent::Lower, 0);
  add("x86_56_lower", 5, 56, IovaExtent::Lower, 0);
  add("x86_47_encrypted", 4, 47, IovaExtent::Lower, u64{1} << 47);
}

void add_vtd(std::vector<Configuration>& all) {
  const auto add = [&](const char* name, unsigned levels, unsigned bits, Features features) {
    Configuration c{.name = name,
                    .config = {.format = Format::VtdSecondStage,
                               .levels = static_cast<u8>(levels),
                               .iova_bits = static_cast<u8>(bits),
                               .phys_bits = 52,
                               .coherent = features == Features::None,
                               .features = features},
                    .dirty = true,
                    .reserved_bit = 62,
                    .items = items_of<VtdSecondStage>,
                    .enumerate = &enumerate_vtd};
    all.push_back(finish(c, {{12}, {21}, {30}, {}, {}}));
  };
  add("vtd_39", 3, 39, Features::None);
  add("vtd_48", 4, 48, Features::None);
  add("vtd_57", 5, 57, Features::None);
  add("vtd_narrow", 4, 35, Features::ForceCoherence | Features::NoReadOnly);
}

void add_riscv(std::vector<Configuration>& all) {
  const auto add = [&](const char* name, Format format, unsigned levels, unsigned bits, IovaExtent extent, bool napot) {
    Configuration c{.name = name,
                    .config = {.format = format,
                               .levels = static_cast<u8>(levels),
                               .iova_bits = static_cast<u8>(bits),
                               .phys_bits = 56,
                               .extent = extent},
                    .kept = Prot::Write | Prot::NoExecute,
                    .always = Prot::Read,
                    .reserved_bit = 54,
                    .items = format == Format::RiscvFirstStage ? items_of<RiscvFirstStage> : items_of<RiscvSecondStage>,
                    .enumerate = &enumerate_riscv};
    Sizes sizes = {{12}, {21}, {30}, {39}, {48}};
    if (napot) sizes[0].push_back(16);
    all.push_back(finish(c, sizes));
  };
  add("riscv_39_napot", Format::RiscvFirstStage, 3, 39, IovaExtent::SignExtended, true);
  add("riscv_48", Format::RiscvFirstStage, 4, 48, IovaExtent::SignExtended, false);
  add("riscv_57_napot", Format::RiscvFirstStage, 5, 57, IovaExtent::SignExtended, true);
  add("riscv_38_lower", Format::RiscvFirstStage, 3, 38, IovaExtent::Lower, true);
  add("riscv_39x4", Format::RiscvSecondStage, 3, 41, IovaExtent::Lower, true);
  add("riscv_48x4", Format::RiscvSecondStage, 4, 50, IovaExtent::Lower, false);
  add("riscv_57x4", Format::RiscvSecondStage, 5, 59, IovaExtent::Lower, true);
}

/// Pages, blocks, and the runs that the contiguous bit joins.
Sizes arm_sizes(unsigned granule_lg2, unsigned phys_bits) {
  switch (granule_lg2) {
    case 12: return {{12, 16}, {21, 25}, {30, 34}, {}};
    case 14: return {{14, 21}, {25, 30}, {}, {}};
    default: return {{16, 21}, {29, 34}, phys_bits == 52 ? std::vector<unsigned>{42} : std::vector<unsigned>{}};
  }
}

struct ArmShape {
  const char* name;
  unsigned levels;
  unsigned iova_bits;
  unsigned phys_bits;
  IovaExtent extent = IovaExtent::Lower;
  Features features = Features::None;
};

template <class F, walk::ArmStage stage>
void add_arm(std::vector<Configuration>& all, const ArmShape& shape) {
  constexpr bool first = stage == walk::ArmStage::One;
  Configuration c{
      .name = shape.name,
      .config = {.format = F::format,
                 .levels = static_cast<u8>(shape.levels),
                 .iova_bits = static_cast<u8>(shape.iova_bits),
                 .phys_bits = static_cast<u8>(shape.phys_bits),
                 .coherent = shape.features == Features::None,
                 .extent = shape.extent,
                 .features = shape.features},
      .index_bits = F::granule_lg2 - 3,
      .kept = Prot::Cache | Prot::NoExecute | Prot::Mmio | (first ? Prot::Write | Prot::Privileged : Prot::ReadWrite),
      .always = first ? Prot::Read : Prot::None,
      .exchange = has(shape.features, Features::Exchange),
      .dirty = has(shape.features, Features::DirtyTracking),
      .reserved_bit = 49,
      .items = items_of<F>,
      .enumerate = &enumerate_arm<stage, F::granule_lg2>};
  all.push_back(finish(c, arm_sizes(F::granule_lg2, shape.phys_bits)));
}

void add_arm(std::vector<Configuration>& all) {
  constexpr walk::ArmStage one = walk::ArmStage::One;
  constexpr walk::ArmStage two = walk::ArmStage::Two;
  constexpr Features all_of_one = Features::DirtyTracking | Features::NonSecure | Features::Exchange;
  constexpr Features all_of_two = Features::DirtyTracking | Features::ForceWriteBack | Features::Exchange;
  constexpr IovaExtent upper = IovaExtent::Upper;
  add_arm<ArmStage1Granule4K, one>(all, {"arm1_4k_48", 4, 48, 48});
  add_arm<ArmStage1Granule4K, one>(all, {"arm1_4k_48_upper", 4, 48, 48, upper, all_of_one});
  add_arm<ArmStage1Granule4K, one>(all, {"arm1_4k_39", 3, 39, 40, IovaExtent::Lower, Features::Exchange});
  add_arm<ArmStage1Granule16K, one>(all, {"arm1_16k_48", 4, 48, 48});
  add_arm<ArmStage1Granule16K, one>(all, {"arm1_16k_47_upper", 3, 47, 48, upper, all_of_one});
  add_arm<ArmStage1Granule64K, one>(all, {"arm1_64k_48", 3, 48, 48, IovaExtent::Lower, Features::Exchange});
  add_arm<ArmStage1Granule64K, one>(all, {"arm1_64k_48_upper", 3, 48, 48, upper});
  add_arm<ArmStage1Granule64K, one>(all, {"arm1_64k_52", 3, 52, 52});
  add_arm<ArmStage1Granule64K, one>(all, {"arm1_64k_52_upper", 3, 52, 52, upper, all_of_one});
  add_arm<ArmStage2Granule4K, two>(all, {"arm2_4k_48", 4, 48, 48, IovaExtent::Lower, all_of_two});
  add_arm<ArmStage2Granule4K, two>(all, {"arm2_4k_40_2_tops", 3, 40, 40});
  add_arm<ArmStage2Granule4K, two>(all, {"arm2_4k_42_8_tops", 3, 42, 48, IovaExtent::Lower, all_of_two});
  add_arm<ArmStage2Granule4K, two>(all, {"arm2_4k_43_16_tops", 3, 43, 44});
  add_arm<ArmStage2Granule16K, two>(all, {"arm2_16k_48_2_tops", 3, 48, 48});
  add_arm<ArmStage2Granule16K, two>(all, {"arm2_16k_40_16_tops", 2, 40, 42, IovaExtent::Lower, all_of_two});
  add_arm<ArmStage2Granule64K, two>(all, {"arm2_64k_52", 3, 52, 52, IovaExtent::Lower, all_of_two});
  add_arm<ArmStage2Granule64K, two>(all, {"arm2_64k_44_4_tops", 2, 44, 48, IovaExtent::Lower, Features::Exchange});
}

std::vector<Configuration> make_all() {
  std::vector<Configuration> all;
  add_amd(all);
  add_x86(all);
  add_vtd(all);
  add_riscv(all);
  add_arm(all);
  for (TestFormatTable& test : test_format_tables()) {
    const bool mock = test.described.name == "amdv1_2k_growing";
    all.push_back(finish(test.described, mock ? amd_sizes(11, 5, 51) : test.sizes));
  }
  return all;
}

}  // namespace

std::vector<Span> Configuration::spans() const {
  const u64 mask = low_bits(config.iova_bits);
  switch (config.extent) {
    case IovaExtent::Lower: return {{0, mask}};
    case IovaExtent::Upper: return {{~mask, ~u64{0}}};
    case IovaExtent::SignExtended: return {{0, mask >> 1}, {~(mask >> 1), ~u64{0}}};
  }
  return {};
}

std::vector<unsigned> Configuration::all_sizes() const {
  std::vector<unsigned> all;
  const Span span = spans()[0];
  for (const auto& level : sizes)
    for (const unsigned size_lg2 : level)
      if (low_bits(size_lg2) <= span.last - span.first && size_lg2 <= config.phys_bits) all.push_back(size_lg2);
  return all;
}

unsigned Configuration::level_of(unsigned size_lg2) const {
  for (unsigned level = 0; level < sizes.size(); ++level)
    if (std::ranges::count(sizes[level], size_lg2) != 0) return level;
  throw std::logic_error("no leaf of this size");
}

u64 Configuration::boundary(const Span& span) const {
  const auto span_lg2 = static_cast<unsigned>(std::bit_width(span.last - span.first));
  return span.first + (u64{1} << std::min(item_lg2(max_levels - 1), span_lg2 - 1));
}

bool Configuration::may_map(Prot prot) const {
  if ((prot & Prot::ReadWrite) == Prot::None) return false;
  return allows(prot, Prot::Write) || !has(config.features, Features::NoReadOnly);
}

PhysAddr Configuration::target(unsigned size_lg2, u64 salt) const {
  const u64 pattern = 0x74a7'1445'dead'beef ^ (salt * 0x9e37'79b9'7f4a'7c15);
  return PhysAddr(pattern & low_bits(config.phys_bits) & ~low_bits(size_lg2));
}

const std::vector<Configuration>& configurations() {
  static const std::vector<Configuration> all = make_all();
  return all;
}

const Configuration& configuration(std::string_view name) {
  for (const Configuration& one : configurations())
    if (one.name == name) return one;
  throw std::logic_error("no such configuration");
}

std::vector<Variant> all_variants() {
  constexpr std::string_view crosswise[] = {"amdv1_growing", "x86_57_sign",        "vtd_48",     "riscv_39_napot",
                                            "arm1_16k_48",   "arm2_4k_43_16_tops", "tiny_plain", "tiny_own_upper"};
  std::vector<Variant> all;
  for (const Configuration& one : configurations()) {
    all.push_back({&one, Sharing::Exclusive, TableMode::Arena});
    all.push_back({&one, Sharing::Shared, TableMode::Page});
    if (std::ranges::count(crosswise, one.name) == 0) continue;
    all.push_back({&one, Sharing::Exclusive, TableMode::Page});
    all.push_back({&one, Sharing::Shared, TableMode::Arena});
  }
  return all;
}

std::vector<Variant> variants_that(bool (*wanted)(const Variant&)) {
  std::vector<Variant> all = all_variants();
  std::erase_if(all, [&](const Variant& variant) { return !wanted(variant); });
  return all;
}

std::string to_string(const Variant& variant) {
  return variant.of->name + (variant.sharing == Sharing::Exclusive ? "_exclusive" : "_shared") +
         (variant.mode == TableMode::Arena ? "_arena" : "_page");
}

void PrintTo(const Variant& variant, std::ostream* out) { *out << to_string(variant); }

}  // namespace page_tables
