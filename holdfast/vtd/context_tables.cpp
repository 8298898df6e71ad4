#include "holdfast/vtd/context_tables.hpp"

namespace holdfast::vtd {

void ContextTables::forget() {
  x_root = {};
  for (ContextTable& table : x_tables) table = {};
}

void ContextTables::start(Mode mode, PhysAddr empty_root) {
  forget();
  x_mode = mode;
  x_root = empty_root;
}

Status ContextTables::adopt(Mode mode, const iommu::UnitAdoption& state, const iommu::PreservedSet& preserved) {
  forget();
  x_mode = mode;
  TRY_ASSIGN(const u64* words, x_map->find<u64>(state.root_table, half_count));
  if (!state.root_table.is_aligned(page_size_bytes) || state.root_table.value == 0) return Code::Corrupt;
  if (!preserved.contains({state.root_table, 0})) return Code::Corrupt;
  x_touches->table();
  x_root = state.root_table;

  Status checked;
  for (unsigned half = 0; half < half_count && checked.ok(); ++half) {
    const u64 word = hw_load(&words[half]);
    const bool recorded = test_half(state.context_tables, half);
    if (word == 0 && !recorded) continue;
    const auto page = decode_table_pointer(word);
    if (mode == Mode::Legacy && half % 2 != 0)
      checked = Code::Corrupt;  // the upper word of a legacy root entry is reserved
    else if (((word & present_bit) != 0) != recorded)
      checked = Code::Mismatch;
    else if (!page || page->value == 0 || is_structure(*page) || !x_map->is_ram(*page, page_size_bytes) ||
             !preserved.contains({*page, 0}))
      checked = Code::Corrupt;
    else
      x_tables[half].page = *page;
  }
  if (!checked.ok()) forget();
  return checked;
}

unsigned ContextTables::half_of(SourceId device) const {
  const unsigned upper = x_mode == Mode::Scalable && device.devfn() >= 128 ? 1 : 0;
  return 2u * device.bus() + upper;
}

SourceId ContextTables::device_at(unsigned half, unsigned index) const {
  const unsigned devfn = index + (x_mode == Mode::Scalable && half % 2 != 0 ? 128 : 0);
  return SourceId(static_cast<u16>(half / 2 << 8 | devfn));
}

std::span<Quad> ContextTables::entry_in(PhysAddr page, unsigned index) const {
  Quad* first = x_map->at<Quad>(page);
  return {first + u64{index} * pieces_per_entry(), pieces_per_entry()};
}

std::span<Quad> ContextTables::entry(SourceId device) const {
  const ContextTable& table = table_of(device);
  if (table.page.value == 0) return {};
  return entry_in(table.page, device.devfn() % entries_per_table());
}

bool ContextTables::is_structure(PhysAddr page) const {
  if (page == x_root) return true;
  for (const ContextTable& table : x_tables)
    if (table.page == page) return true;
  return false;
}

}  // namespace holdfast::vtd
