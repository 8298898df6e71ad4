// See device_tables.hpp.
#include "tests/metal/device_tables.hpp"

#include <cstdio>
#include <set>

#include "sim/walk/x86_first_stage.hpp"

namespace metal_test {
namespace {

using sim::walk::EntryKind;
using sim::walk::SecondStage;

constexpr u64 page_mask = 0x000f'ffff'ffff'f000;
constexpr u64 table_mode = 0xc00;  // RTADDR_REG.TTM, 11.4.5
constexpr u64 scalable_table_mode = 0x400;
constexpr u64 present = 1;
constexpr u64 fault_disabled = 2;    // FPD: no business of ours, but not reserved
constexpr u64 first_stage_only = 1;  // PGTT, 9.6
constexpr u64 second_stage_only = 2;
constexpr unsigned host_address_bits = 48;
constexpr u64 large_page = 1 << 7;  // PS of a first-stage entry, 9.7

struct Entry {
  u64 low = 0;
  u64 high = 0;
};

class Reader {
 public:
  Reader(const sim::PhysicalMemory& memory, UnitTables& result) : x_memory(memory), x_result(result) {}

  void read(u64 root_register) {
    if ((root_register & table_mode & ~scalable_table_mode) != 0) return fail("RTADDR: a table mode that is reserved");
    x_result.scalable = (root_register & scalable_table_mode) != 0;
    const PhysAddr root(root_register & page_mask);
    if (!note_page(root, "the root table")) return;
    for (u32 bus = 0; bus < 256 && x_result.ok(); ++bus) {
      const Entry entry = load(root + u64{16} * bus);
      if ((entry.low & present) != 0) read_contexts(entry.low, bus, 0);
      if (x_result.scalable && (entry.high & present) != 0) read_contexts(entry.high, bus, 128);
      if (!x_result.scalable && entry.high != 0) fail("a root entry of legacy mode has bits in its upper half");
    }
  }

 private:
  void fail(const std::string& what) {
    if (x_result.ok()) x_result.error = what;
  }
  bool note_page(PhysAddr page, const char* what) {
    if (x_memory.find(page, page_size_bytes) == nullptr) {
      fail(std::string(what) + " is not in memory");
      return false;
    }
    if (x_pages.insert(page.value).second) x_result.pages.push_back(page);
    return x_result.ok();
  }
  [[nodiscard]] Entry load(PhysAddr at) const {
    return {x_memory.load64(at).value_or(0), x_memory.load64(at + 8).value_or(0)};
  }

  void read_contexts(u64 pointer, u32 bus, u32 first) {
    if ((pointer & ~page_mask & ~present) != 0) return fail("a root entry has reserved bits");
    const PhysAddr table(pointer & page_mask);
    if (!note_page(table, "a context table")) return;
    const u32 count = x_result.scalable ? 128 : 256;
    for (u32 i = 0; i < count && x_result.ok(); ++i) {
      const auto source = static_cast<u16>(bus << 8 | (first + i));
      const PhysAddr at = table + u64{x_result.scalable ? 32u : 16u} * i;
      const Entry entry = load(at);
      if ((entry.low & present) == 0) continue;
      if (x_result.scalable)
        read_scalable(source, entry);
      else
        read_legacy(source, entry);
    }
  }

  /// 9.3: translation type in bits 3:2, 0 is a table; address width and domain in the upper half.
  void read_legacy(u16 source, Entry entry) {
    if ((entry.low >> 2 & 3) != 0) return fail(source_text(source) + ": not translated by a table");
    if ((entry.low & ~page_mask & ~(present | fault_disabled)) != 0)
      return fail(source_text(source) + ": reserved bits in the context entry");
    read_domain(source, PhysAddr(entry.low & page_mask), entry.high & 7, static_cast<u16>(entry.high >> 8));
  }

  /// 9.4 to 9.6: PASID directory of 128 << PDTS entries; the PASID of requests without one is RID_PASID.
  void read_scalable(u16 source, Entry entry) {
    const PhysAddr directory(entry.low & page_mask);
    const u64 directory_entries = u64{128} << (entry.low >> 9 & 7);
    const u64 pasid = entry.high & 0xf'ffff;
    if (!note_page(directory, "a PASID directory")) return;
    if (pasid >> 6 >= directory_entries) return fail(source_text(source) + ": RID_PASID is beyond its directory");
    const Entry in_directory = load(directory + (pasid >> 6) * 8);
    if ((in_directory.low & present) == 0) return;
    const PhysAddr table(in_directory.low & page_mask);
    if (!note_page(table, "a PASID table")) return;
    const PhysAddr at = table + (pasid & 63) * 64;
    const Entry pasid_entry = load(at);
    if ((pasid_entry.low & present) == 0) return;
    const auto domain = static_cast<u16>(pasid_entry.high & 0xffff);
    const u64 type = pasid_entry.low >> 6 & 7;
    if (type == second_stage_only)
      read_domain(source, PhysAddr(pasid_entry.low & page_mask), pasid_entry.low >> 2 & 7, domain);
    else if (type == first_stage_only)
      read_first_stage(source, load(at + 16).low, domain);
    else
      return fail(source_text(source) + ": not translated by one table of first or second stage");
    if (x_result.ok()) x_result.devices.back().rid_pasid = static_cast<u32>(pasid);
  }

  /// 9.6: @p word is the third of the PASID entry, with the table and its mode (0: four levels, 1: five).
  void read_first_stage(u16 source, u64 word, u16 domain) {
    const u64 mode = word >> 2 & 3;
    if (mode > 1) return fail(source_text(source) + ": a first-stage mode that is reserved");
    const sim::walk::FirstStage stage{.top_table = PhysAddr(word & page_mask),
                                      .levels = static_cast<unsigned>(mode) + 4,
                                      .host_address_bits = host_address_bits};
    DeviceTables device{.source = source,
                        .domain = domain,
                        .first_stage = true,
                        .top = stage.top_table,
                        .levels = stage.levels,
                        .leaves = {}};
    note_first_stage(stage.top_table, stage.levels);
    const auto end =
        sim::walk::enumerate_leaves(sim::walk::words_of(x_memory), stage, [&](const sim::walk::FoundLeaf& leaf) {
          const sim::walk::Mapping& found = leaf.mapping;
          device.leaves.push_back(
              {found.iova, found.address, u64{1} << found.page_lg2, found.permissions.read, found.permissions.write});
        });
    if (!end.ok()) fail(source_text(source) + ": first-stage tables: " + std::string(end.why));
    x_result.devices.push_back(std::move(device));
  }

  void note_first_stage(PhysAddr table, unsigned level) {
    if (x_pages.contains(table.value) || !note_page(table, "a page table") || level == 1) return;
    for (u64 i = 0; i < 512; ++i) {
      const u64 entry = x_memory.load64(table + 8 * i).value_or(0);
      if ((entry & present) != 0 && (entry & large_page) == 0) note_first_stage(PhysAddr(entry & page_mask), level - 1);
    }
  }

  void read_domain(u16 source, PhysAddr top, u64 width, u16 domain) {
    if (width < 1 || width > 3) return fail(source_text(source) + ": an address width that is reserved");
    const SecondStage stage{
        .top_table = top,
        .levels = static_cast<unsigned>(width) + 2,
        .pages_1g = true,
        .snoop = x_result.scalable ? sim::walk::SnoopBit::Ignored : sim::walk::SnoopBit::AllowedInLeaf};
    DeviceTables device{.source = source, .domain = domain, .top = top, .levels = stage.levels, .leaves = {}};
    note_tables(stage, top, stage.levels);
    const auto fault =
        sim::walk::for_each_leaf(x_memory, stage, [&](const sim::walk::Leaf& leaf) { device.leaves.push_back(leaf); });
    if (fault == sim::walk::WalkFault::TableAccess) fail(source_text(source) + ": a page table is not in memory");
    if (fault == sim::walk::WalkFault::ReservedSet) fail(source_text(source) + ": reserved bits in a page table");
    x_result.devices.push_back(std::move(device));
  }

  void note_tables(const SecondStage& stage, PhysAddr table, unsigned level) {
    if (x_pages.contains(table.value) || !note_page(table, "a page table") || level == 1) return;
    for (u64 i = 0; i < 512; ++i) {
      const u64 entry = x_memory.load64(table + 8 * i).value_or(0);
      if (classify(stage, entry, level) == EntryKind::Table)
        note_tables(stage, entry_address(entry, level, EntryKind::Table), level - 1);
    }
  }

  const sim::PhysicalMemory& x_memory;
  UnitTables& x_result;
  std::set<u64> x_pages;
};

}  // namespace

UnitTables read_unit_tables(const sim::PhysicalMemory& memory, u64 root_register) {
  UnitTables result;
  Reader(memory, result).read(root_register);
  return result;
}

std::string source_text(u16 source) {
  char text[16];
  std::snprintf(text, sizeof text, "%02x:%02x.%x", source >> 8, source >> 3 & 31, source & 7);
  return text;
}

}  // namespace metal_test
