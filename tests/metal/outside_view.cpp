// See outside_view.hpp.
#include "tests/metal/outside_view.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "holdfast/base/checked.hpp"
#include "host/run_error.hpp"
#include "sim/walk/handover_map.hpp"

namespace metal_test {
namespace {

constexpr std::size_t most_complaints = 8;

void complain(Complaints& to, std::string what) {
  if (to.size() < most_complaints) to.push_back(std::move(what));
}

}  // namespace

void PageSet::add(PhysRange range) {
  const u64 first = range.start.value / page_size_bytes;
  const u64 end = div_ceil(range.start.value + range.size_bytes, page_size_bytes);
  for (u64 page = first; page < std::min<u64>(end, x_pages.size()); ++page) x_pages[page] = true;
}

bool PageSet::contains(PhysRange range) const {
  const u64 end = div_ceil(range.start.value + range.size_bytes, page_size_bytes);
  if (end > x_pages.size()) return false;
  for (u64 page = range.start.value / page_size_bytes; page < end; ++page)
    if (!x_pages[page]) return false;
  return true;
}

u64 PageSet::count() const { return static_cast<u64>(std::ranges::count(x_pages, true)); }

metal::BootPage read_boot_page(const GuestMemory& memory) {
  metal::BootPage page;
  const std::byte* at = memory.find(metal::boot_page_address, sizeof page);
  std::memcpy(&page, at, sizeof page);
  if (page.magic != metal::boot_page_magic || page.version != metal::boot_page_version)
    throw host::RunError(host::ExitCode::Internal, "guest RAM has no boot page, or one of another version");
  return page;
}

Complaints compare_tables(const Look& before, const Look& after, Tables tables) {
  Complaints wrong;
  if (!before.tables.ok()) complain(wrong, "before: " + before.tables.error);
  if (!after.tables.ok()) complain(wrong, "after: " + after.tables.error);
  if (before.root_register != after.root_register)
    complain(wrong, fmt::format("RTADDR was {:#x} and is {:#x}", before.root_register, after.root_register));
  for (const DeviceTables& was : before.tables.devices) {
    const auto is = std::ranges::find(after.tables.devices, was.source, &DeviceTables::source);
    if (is == after.tables.devices.end())
      complain(wrong, source_text(was.source) + " is not translated any more");
    else if (is->leaves != was.leaves)
      complain(wrong, fmt::format("{} reaches other pages: {} leaves before, {} after", source_text(was.source),
                                  was.leaves.size(), is->leaves.size()));
    else if (tables == Tables::Stay && (is->top != was.top || is->domain != was.domain))
      complain(wrong, source_text(was.source) + " has another table or domain");
    else if (is->rid_pasid != was.rid_pasid || is->first_stage != was.first_stage)
      complain(wrong, source_text(was.source) + " has another RID_PASID or stage");
  }
  return wrong;
}

Complaints check_handed_over(const GuestMemory& memory, const Look& held) {
  Complaints wrong;
  if (!held.tables.ok()) complain(wrong, held.tables.error);
  if (held.tables.devices.empty()) complain(wrong, "no device is translated");
  const sim::walk::HandoverMap map = sim::walk::read_handover(memory, held.boot.handover);
  if (!map.ok()) {
    complain(wrong, "the map of what was handed over: " + map.error);
    return wrong;
  }
  PageSet preserved(memory.size_bytes());
  for (const Block& block : map.preserved) preserved.add({block.start, block.size_bytes()});
  for (const PhysRange& scratch : map.scratch)
    for (const Block& block : map.preserved)
      if (scratch.overlaps({block.start, block.size_bytes()}))
        complain(wrong, fmt::format("block {:#x} is handed over and in scratch", block.start.value));

  for (const PhysAddr page : held.tables.pages)
    if (!preserved.contains({page, page_size_bytes}))
      complain(wrong, fmt::format("table page {:#x} is not handed over", page.value));
  for (const DeviceTables& device : held.tables.devices)
    for (const sim::walk::Leaf& leaf : device.leaves)
      if (!preserved.contains({leaf.address, leaf.page_bytes}))
        complain(wrong, fmt::format("{} reaches {:#x} at IOVA {:#x}, which is not handed over",
                                    source_text(device.source), leaf.address.value, leaf.iova));
  return wrong;
}

PageSet writable_pages(const GuestMemory& memory, const UnitTables& tables) {
  PageSet pages(memory.size_bytes());
  for (const DeviceTables& device : tables.devices)
    for (const sim::walk::Leaf& leaf : device.leaves)
      if (leaf.write) pages.add({leaf.address, leaf.page_bytes});
  return pages;
}

Complaints check_changes(const GuestMemory& memory, const Look& held, const PhysRange& first_image,
                         const std::vector<PhysAddr>& changed) {
  Complaints wrong;
  PageSet allowed = writable_pages(memory, held.tables);
  allowed.add({metal::boot_page_address, (1 + metal::log_pages) * page_size_bytes});
  allowed.add(held.boot.jumps <= 1 ? first_image
                                   : PhysRange{PhysAddr(held.boot.image_area_start), held.boot.image_area_bytes});
  for (const PhysAddr page : changed)
    if (!allowed.contains({page, page_size_bytes}))
      complain(wrong, fmt::format("page {:#x} changed inside the blackout, and no device may write it", page.value));
  return wrong;
}

Complaints check_changes_over_jump(const GuestMemory& memory, const Look& held, const std::vector<PhysAddr>& changed) {
  Complaints wrong;
  const sim::walk::HandoverMap map = sim::walk::read_handover(memory, held.boot.handover);
  if (!map.ok()) {
    complain(wrong, "the map of what was handed over: " + map.error);
    return wrong;
  }
  const PageSet writable = writable_pages(memory, held.tables);
  PageSet preserved(memory.size_bytes());
  for (const Block& block : map.preserved) preserved.add({block.start, block.size_bytes()});
  PageSet of_kernels(memory.size_bytes());
  of_kernels.add({metal::boot_page_address, (1 + metal::log_pages) * page_size_bytes});
  for (const PhysRange& scratch : map.scratch) of_kernels.add(scratch);
  for (const PhysAddr page : changed) {
    const PhysRange range{page, page_size_bytes};
    if (writable.contains(range)) continue;
    if (preserved.contains(range))
      complain(wrong, fmt::format("page {:#x} was handed over and changed, and no device may write it", page.value));
    else if (!of_kernels.contains(range))
      complain(wrong, fmt::format("page {:#x} changed outside scratch, and no device may write it", page.value));
  }
  return wrong;
}

}  // namespace metal_test
