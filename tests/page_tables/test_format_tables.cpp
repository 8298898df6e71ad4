#include "tests/page_tables/test_format_tables.hpp"

#include "holdfast/pt/engine_create.hpp"
#include "holdfast/pt/test_formats.hpp"
#include "sim/walk/amdv1.hpp"
#include "sim/walk/odd_geometry.hpp"
#include "tests/page_tables/tiny_walkers.hpp"

namespace page_tables {
namespace {

walk::Enumeration enumerate_2k(const walk::ReadWord& read, const TableConfig& config, PhysAddr top, unsigned levels,
                               const walk::VisitLeaf& visit) {
  return enumerate_leaves(
      read,
      walk::Amdv1Tables{.top_table = top, .mode = levels, .granule_lg2 = 11, .host_address_bits = config.phys_bits},
      visit);
}

walk::Enumeration enumerate_plain(const walk::ReadWord& read, const TableConfig& config, PhysAddr top, unsigned levels,
                                  const walk::VisitLeaf& visit) {
  return enumerate_leaves(
      read, walk::OddTables{.top_table = top, .index_bits = 2, .levels = levels, .host_address_bits = config.phys_bits},
      visit);
}

template <TinyKind kind>
walk::Enumeration enumerate_tiny(const walk::ReadWord& read, const TableConfig& config, PhysAddr top, unsigned levels,
                                 const walk::VisitLeaf& visit) {
  const TinyExtent extent = config.extent == IovaExtent::Lower   ? TinyExtent::Lower
                            : config.extent == IovaExtent::Upper ? TinyExtent::Upper
                                                                 : TinyExtent::Signed;
  return enumerate_leaves(read, TinyTables{kind, top, levels, config.iova_bits, extent}, visit);
}

TestFormatTable replicated(const char* name, u8 levels, u8 bits, IovaExtent extent) {
  return {
      {.name = name,
       .config =
           {.format = TinyReplicated::format, .levels = levels, .iova_bits = bits, .phys_bits = 52, .extent = extent},
       .index_bits = 3,
       .dirty = true,
       .restorable = false,
       .create = &create_table<TinyReplicated>,
       .enumerate = &enumerate_tiny<TinyKind::Replicated>},
      {{12, 13, 14}, {15, 16, 17}, {18}}};
}

TestFormatTable own_address(const char* name, u8 levels, u8 bits, IovaExtent extent, Features features) {
  return {{.name = name,
           .config = {.format = TinyOwnAddress::format,
                      .levels = levels,
                      .iova_bits = bits,
                      .phys_bits = 48,
                      .coherent = features == Features::None,
                      .extent = extent,
                      .features = features},
           .index_bits = 3,
           .kept = Prot::Write,
           .always = Prot::Read,
           .exchange = has(features, Features::Exchange),
           .dirty = has(features, Features::DirtyTracking),
           .restorable = false,
           .create = &create_table<TinyOwnAddress>,
           .enumerate = &enumerate_tiny<TinyKind::OwnAddress>},
          {{12, 14}, {15, 16}, {18}}};
}

}  // namespace

std::vector<TestFormatTable> test_format_tables() {
  std::vector<TestFormatTable> all;
  all.push_back(
      {{.name = "amdv1_2k_growing",
        .config =
            {.format = AmdV1Granule2K::format, .levels = 2, .iova_bits = 56, .phys_bits = 51, .dynamic_top = true},
        .max_levels = 5,
        .dirty = true,
        .restorable = false,
        .create = &create_table<AmdV1Granule2K>,
        .enumerate = &enumerate_2k},
       {}});
  Configuration plain{.name = "tiny_plain",
                      .config = {.format = TinyFormat::format, .levels = 5, .iova_bits = 22, .phys_bits = 52},
                      .index_bits = 2,
                      .dirty = true,
                      .restorable = false,
                      .create = &create_table<TinyFormat>,
                      .enumerate = &enumerate_plain};
  plain.config.coherent = false;
  const std::vector<std::vector<unsigned>> plain_sizes = {{12}, {14}, {16}};
  all.push_back({plain, plain_sizes});
  plain.name = "tiny_growing";
  plain.config.levels = 2;
  plain.config.iova_bits = 24;
  plain.config.dynamic_top = true;
  plain.max_levels = 6;
  all.push_back({plain, plain_sizes});
  all.push_back(replicated("tiny_replicated_sign", 4, 24, IovaExtent::SignExtended));
  all.push_back(replicated("tiny_replicated_lower", 4, 23, IovaExtent::Lower));
  all.push_back(own_address("tiny_own_lower", 5, 27, IovaExtent::Lower, Features::None));
  all.push_back(own_address("tiny_own_upper", 4, 22, IovaExtent::Upper, Features::DirtyTracking | Features::Exchange));
  return all;
}

}  // namespace page_tables
