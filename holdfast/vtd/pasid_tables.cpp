#include "holdfast/vtd/pasid_tables.hpp"

namespace holdfast::vtd {

namespace {

PhysRange range_of(Block block) { return {block.start, block.size_bytes()}; }

}  // namespace

bool PasidTables::contains(PhysAddr page) const {
  return range_of(directory_block()).contains(page, 1) || range_of(table_block()).contains(page, 1);
}

bool PasidTables::overlaps(const PasidTables& other) const {
  return range_of(directory_block()).overlaps(range_of(other.directory_block())) || contains(other.table) ||
         other.contains(table);
}

Result<PasidTables> read_pasid_tables(const DirectMap& map, TouchMeter& touches, std::span<const Quad> context) {
  const auto decoded = decode_scalable_context(context);
  if (!decoded || decoded->directory.base.value == 0) return Code::Corrupt;
  const PasidDirectory& directory = decoded->directory;
  if (decoded->rid_pasid >= directory.max_pasid()) return Code::OutOfRange;
  PasidTables tables{.directory = directory, .table = {}, .rid_pasid = decoded->rid_pasid};
  const Block block = tables.directory_block();
  if (!block.start.is_aligned(block.size_bytes()) || !map.is_ram(block.start, block.size_bytes())) return Code::Corrupt;
  TRY_ASSIGN(const u64* entries, map.find<u64>(directory.base, directory.entries()));
  touches.table(block.size_bytes() >> page_lg2);
  const u64 used = directory_index(tables.rid_pasid);
  for (u64 index = 0; index < directory.entries(); ++index)
    if (index != used && hw_load(&entries[index]) != 0) return Code::Corrupt;

  const auto table = decode_table_pointer(hw_load(&entries[used]));
  if (!table || table->value == 0 || !map.is_ram(*table, page_size_bytes)) return Code::Corrupt;
  tables.table = *table;
  touches.table();
  return tables;
}

}  // namespace holdfast::vtd
