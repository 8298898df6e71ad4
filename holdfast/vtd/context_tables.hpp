// ContextTables: the root table of one unit and the context tables it points to (VT-d 5.0, 3.4 and 9.1 to 9.4).
//
// The root page is 512 words: word 2 * bus + half points to a context table. Legacy mode has one table per bus (even
// words, the odd ones stay zero), scalable mode two (devices 0..15 and 16..31). A table once made is kept: hardware and
// the next kernel may hold its address.
// What stands here about the tables is software's own knowledge, checked once; the words themselves are written by
// EntryWriter only. Threads: the caller serialises (LockRank::Iommu). Allocates nothing.
#pragma once

#include <array>
#include <bit>
#include <span>

#include "holdfast/memory/direct_map.hpp"
#include "holdfast/memory/touch_meter.hpp"
#include "holdfast/vtd/entry_format.hpp"

namespace holdfast::vtd {

inline constexpr unsigned half_count = 512;

/// One bit per context table, as records have it.
using HalfBitmap = std::array<u64, half_count / 64>;

[[nodiscard]] constexpr bool test_half(const HalfBitmap& bitmap, unsigned half) {
  return (bitmap[half / 64] >> (half % 64) & 1) != 0;
}
constexpr void set_half(HalfBitmap& bitmap, unsigned half) { bitmap[half / 64] |= u64{1} << (half % 64); }
constexpr void clear_half(HalfBitmap& bitmap, unsigned half) { bitmap[half / 64] &= ~(u64{1} << (half % 64)); }

/// One bit per device and function of a context table.
class DeviceSet {
 public:
  [[nodiscard]] constexpr bool contains(u8 devfn) const { return (x_words[devfn / 64] >> (devfn % 64) & 1) != 0; }
  constexpr void insert(u8 devfn) { x_words[devfn / 64] |= u64{1} << (devfn % 64); }
  constexpr void erase(u8 devfn) { x_words[devfn / 64] &= ~(u64{1} << (devfn % 64)); }

 private:
  std::array<u64, 4> x_words{};
};

struct ContextTable {
  PhysAddr page;           // 0: none
  PhysAddr undo;           // a page of software's that cut_off() copies this one to; 0 until memory is up
  bool preserved = false;  // for the next kernel
  DeviceSet known;         // scalable: the entry is ours or checked, its PASID directory and table may be followed
  DeviceSet recorded;      // scalable: PASID directory and table are preserved for the next kernel
};

class ContextTables {
 public:
  ContextTables(const DirectMap& map, TouchMeter& touches) : x_map(&map), x_touches(&touches) {}

  [[nodiscard]] Mode mode() const { return x_mode; }
  [[nodiscard]] PhysAddr root() const { return x_root; }
  /// An empty root table: whatever was known before is forgotten.
  void start(Mode mode, PhysAddr empty_root);
  /// A root page that stands for the same tables at another address.
  void move_root(PhysAddr root) { x_root = root; }
  /// Takes over a root table that hardware walks, after checking that root and tables are preserved pages of RAM, that
  /// no page is met twice, that no reserved bit is set, and that the present halves are exactly those of the state.
  /// Only reads. Errors: Mismatch (root and bitmap disagree), Corrupt; nothing is known then.
  Status adopt(Mode mode, const iommu::UnitAdoption& state, const iommu::PreservedSet& preserved);

  [[nodiscard]] unsigned half_of(SourceId device) const;
  [[nodiscard]] SourceId device_at(unsigned half, unsigned index) const;
  [[nodiscard]] u64& root_word(unsigned half) const { return x_map->at<u64>(x_root)[half]; }
  [[nodiscard]] ContextTable& table(unsigned half) { return x_tables[half]; }
  [[nodiscard]] const ContextTable& table(unsigned half) const { return x_tables[half]; }
  [[nodiscard]] ContextTable& table_of(SourceId device) { return x_tables[half_of(device)]; }
  [[nodiscard]] const ContextTable& table_of(SourceId device) const { return x_tables[half_of(device)]; }

  [[nodiscard]] unsigned pieces_per_entry() const {
    return x_mode == Mode::Legacy ? pieces_per_legacy_context : pieces_per_scalable_context;
  }
  [[nodiscard]] unsigned entries_per_table() const {
    return x_mode == Mode::Legacy ? hw::vtd::context_entries_per_table : hw::vtd::scalable_context_entries_per_table;
  }
  /// Entry @p index of the page at @p page, which is laid out like a context table.
  [[nodiscard]] std::span<Quad> entry_in(PhysAddr page, unsigned index) const;
  /// Empty when the device has no context table.
  [[nodiscard]] std::span<Quad> entry(SourceId device) const;
  [[nodiscard]] static bool is_present(std::span<const Quad> entry) {
    return (hw_load(&entry[0].lo) & present_bit) != 0;
  }

  /// @p f(half, table) for each context table.
  template <class F>
  void for_each_table(F f) {
    for (unsigned half = 0; half < half_count; ++half)
      if (x_tables[half].page.value != 0) f(half, x_tables[half]);
  }
  template <class F>
  void for_each_table(F f) const {
    for (unsigned half = 0; half < half_count; ++half)
      if (x_tables[half].page.value != 0) f(half, x_tables[half]);
  }
  /// @p f(device, entry) for each entry of each context table. @p f may make the unit forget the table.
  template <class F>
  void for_each_entry(F f) const {
    for_each_table([&](unsigned half, const ContextTable& table) {
      x_touches->table();
      for (unsigned index = 0; index < entries_per_table() && table.page.value != 0; ++index)
        f(device_at(half, index), entry_in(table.page, index));
    });
  }
  /// True when @p page is the root or a context table.
  [[nodiscard]] bool is_structure(PhysAddr page) const;

 private:
  void forget();

  const DirectMap* x_map;
  TouchMeter* x_touches;
  Mode x_mode = Mode::Legacy;
  PhysAddr x_root;
  std::array<ContextTable, half_count> x_tables{};
};

}  // namespace holdfast::vtd
