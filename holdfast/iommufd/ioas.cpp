#include "holdfast/iommufd/ioas.hpp"

#include <algorithm>
#include <bit>

#include "holdfast/abi/checksum.hpp"
#include "holdfast/iommufd/hwpt.hpp"
#include "uapi/holdfast/memfd.h"

namespace holdfast::iommufd {
namespace {

constexpr u64 largest_auto_alignment = u64{2} << 20;  // that of a large leaf
constexpr u64 top = ~u64{0};

memfd::PinAccess access_of(pt::Prot prot) {
  return allows(prot, pt::Prot::Write) ? memfd::PinAccess::Write : memfd::PinAccess::Read;
}
constexpr bool overlap(IovaSpan a, IovaSpan b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

Ioas::~Ioas() {
  verify_invariant(x_hwpts.empty(), "an IOAS was destroyed before its page tables");
  while (!x_areas.empty()) drop_area(x_areas.size() - 1);
}

u64 Ioas::alignment() const { return !x_hwpts.empty() || x_huge_pages == HugePages::Forbidden ? page_size_bytes : 1; }

/// Index of the first area that ends at or after @p iova.
u64 Ioas::first_area_from(u64 iova) const {
  const auto at = std::lower_bound(x_areas.begin(), x_areas.end(), iova,
                                   [](const Area& area, u64 wanted) { return area.last() < wanted; });
  return static_cast<u64>(at - x_areas.begin());
}

bool Ioas::overlaps_area(IovaSpan span) const {
  const u64 index = first_area_from(span.first);
  return index < x_areas.size() && x_areas[index].iova <= span.last;
}

const Ioas::Reservation* Ioas::find_reservation(IovaSpan span) const {
  for (const Reservation& reservation : x_reserved)
    if (overlap(reservation.span, span)) return &reservation;
  return nullptr;
}

// Mapping.

Status Ioas::check_file(const MapRequest& request) const {
  const auto* file = luo::file_cast<memfd::MemFile>(request.file.get());
  if (file == nullptr) return Code::Invalid;
  if (request.length == 0 || request.offset > file->size_bytes() ||
      request.length > file->size_bytes() - request.offset)
    return Code::Invalid;
  const bool read_only = (file->open_flags() & 3) == 0;
  const bool sealed = (file->seals() & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0;
  if (allows(request.prot, pt::Prot::Write) && (read_only || sealed)) return Code::NotPermitted;
  if (((request.length | request.offset) & (alignment() - 1)) != 0) return Code::Invalid;
  return {};
}

Result<u64> Ioas::place(const MapRequest& request) const {
  return request.fixed_iova ? place_fixed(*request.fixed_iova, request.length)
                            : place_anywhere(request.offset, request.length);
}

Result<u64> Ioas::place_fixed(u64 iova, u64 length) const {
  const auto last = checked_last(iova, length);
  if (!last) return Code::Overflow;
  if ((iova & (alignment() - 1)) != 0) return Code::Invalid;
  if (find_reservation({iova, *last}) != nullptr) return Code::Invalid;
  if (overlaps_area({iova, *last})) return Code::Exists;
  return iova;
}

/// First fit, aligned so that large leaves are possible, with the file's offset inside a page; never IOVA 0.
Result<u64> Ioas::place_anywhere(u64 offset, u64 length) const {
  if (length >= top / 2) return Code::Overflow;
  u64 align = std::bit_ceil(length);
  if (offset != 0) align = std::min(align, offset & -offset);
  align = std::min(align, x_huge_pages == HugePages::Allowed ? largest_auto_alignment : page_size_bytes);
  if (align < alignment()) return Code::Invalid;
  const u64 within_page = offset & (page_size_bytes - 1);
  const u64 step = std::max(align, page_size_bytes);

  for (u64 from = page_size_bytes;;) {
    const auto base = checked_align_up(from, step);
    if (!base || length > top - page_size_bytes - within_page - *base) return Code::NoSpace;
    const u64 iova = *base + within_page;
    const IovaSpan wanted{iova, iova + (length - 1)};
    u64 taken_to = 0;
    if (const Reservation* reservation = find_reservation(wanted)) {
      taken_to = reservation->span.last;
    } else {
      const u64 index = first_area_from(wanted.first);
      if (index == x_areas.size() || x_areas[index].iova > wanted.last) return iova;
      taken_to = x_areas[index].last();
    }
    if (taken_to == top) return Code::NoSpace;
    from = taken_to + 1;
  }
}

Result<u64> Ioas::map(MapRequest request) {
  if (is_immutable()) return Code::Busy;
  if (request.fixed_iova && (*request.fixed_iova == top || request.length == top)) return Code::Overflow;
  if (request.prot == pt::Prot::None) return Code::Invalid;
  TRY(check_file(request));
  TRY_ASSIGN(const u64 iova, place(request));
  for (Hwpt* hwpt : x_hwpts) TRY(x_core.settle(*hwpt->domain));  // nothing of this map reaches hardware that is silent

  const u64 index = first_area_from(iova);
  auto& memory = *luo::file_cast<memfd::MemFile>(request.file.get());
  TRY(x_areas.insert(
      index, Area{iova, request.length, request.offset, request.prot, memory.seals(), std::move(request.file)}));
  memory.pin(access_of(request.prot));
  Reach left = Reach::None;
  const Status status = fill(x_areas[index], left);
  if (status.ok()) return iova;
  if (left == Reach::None) {
    drop_area(index);
  } else {
    say_abandoned();
    abandon_area(index);
  }
  return status.code();
}

void Ioas::drop_area(u64 index) {
  x_areas[index].memory().unpin(access_of(x_areas[index].prot));
  x_areas.erase(index);
}

void Ioas::abandon_area(u64 index) {
  static_cast<void>(x_areas[index].file.detach());
  x_areas.erase(index);
}

void Ioas::abandon_areas() {
  if (!x_areas.empty()) say_abandoned();
  while (!x_areas.empty()) abandon_area(x_areas.size() - 1);
}

void Ioas::say_abandoned() const {
  x_memory.world.log(LogLevel::Error, "iommufd: a unit does not answer; memory that it may still reach stays taken");
}

/// Every page table or none. @p left: what hardware may know of it after a failure.
Status Ioas::fill(const Area& area, Reach& left) {
  if (x_hwpts.empty()) return {};
  Vec<PhysRange> runs(x_memory.heap);
  TRY(area.memory().runs(area.offset, area.length, runs));
  for (u64 i = 0; i < x_hwpts.size(); ++i) {
    const Status status = x_core.map(*x_hwpts[i]->domain, Iova(area.iova), runs.span(), area.prot);
    if (status.ok()) continue;
    if (status.code() == Code::TimedOut || status.code() == Code::Io) left = Reach::Perhaps;
    for (u64 k = i; k-- > 0;)
      if (!x_core.unmap(*x_hwpts[k]->domain, Iova(area.iova), area.length).ok()) left = Reach::Perhaps;
    return status;
  }
  return {};
}

// Unmapping.

Status Ioas::clear(const Area& area) {
  for (Hwpt* hwpt : x_hwpts) {
    const auto unmapped = x_core.unmap(*hwpt->domain, Iova(area.iova), area.length);
    if (!unmapped.ok()) return unmapped.code();
  }
  return {};
}

Result<u64> Ioas::unmap(u64 iova, u64 length) {
  if (is_immutable()) return Code::Busy;
  if (length == 0) return Code::Invalid;
  const auto last = checked_last(iova, length);
  if (!last || iova == top || length == top) return Code::Overflow;
  const u64 begin = first_area_from(iova);
  u64 end = begin;
  for (; end < x_areas.size() && x_areas[end].iova <= *last; ++end)
    if (x_areas[end].iova < iova || x_areas[end].last() > *last) return Code::NotFound;
  if (begin == end) return Code::NotFound;

  u64 bytes = 0;
  for (; end > begin; --end) {
    TRY(clear(x_areas[end - 1]));
    bytes += x_areas[end - 1].length;
    drop_area(end - 1);
  }
  return bytes;
}

Result<u64> Ioas::unmap_all() {
  if (is_immutable()) return Code::Busy;
  u64 bytes = 0;
  while (!x_areas.empty()) {
    TRY(clear(x_areas.back()));
    bytes += x_areas.back().length;
    drop_area(x_areas.size() - 1);
  }
  return bytes;
}

// Page tables and devices.

Status Ioas::check_alignment(u64 alignment) const {
  for (const Area& area : x_areas)
    if (((area.iova | area.length | area.offset) & (alignment - 1)) != 0) return Code::AddressInUse;
  return {};
}

Status Ioas::reserve(IovaSpan span, const Object& owner) {
  if (overlaps_area(span)) return Code::AddressInUse;
  return x_reserved.push_back({span, &owner});
}

void Ioas::release(const Object& owner) {
  for (u64 i = x_reserved.size(); i-- > 0;)
    if (x_reserved[i].owner == &owner) x_reserved.erase(i);
}

Status Ioas::add_hwpt(Hwpt& hwpt) {
  TRY(check_alignment(page_size_bytes));
  const u8 bits = hwpt.domain->config().iova_bits;
  if (bits < 64) TRY(reserve({u64{1} << bits, top}, hwpt));
  Status status = x_hwpts.push_back(&hwpt);
  if (!status.ok()) {
    release(hwpt);
    return status;
  }
  Vec<PhysRange> runs(x_memory.heap);
  for (const Area& area : x_areas) {
    runs.clear();
    status = area.memory().runs(area.offset, area.length, runs);
    if (status.ok()) status = x_core.map(*hwpt.domain, Iova(area.iova), runs.span(), area.prot);
    if (!status.ok()) break;
  }
  if (!status.ok()) remove_hwpt(hwpt);
  return status;
}

void Ioas::remove_hwpt(const Hwpt& hwpt) {
  const auto at = std::find(x_hwpts.begin(), x_hwpts.end(), &hwpt);
  x_hwpts.erase(static_cast<u64>(at - x_hwpts.begin()));
  release(hwpt);
}

Status Ioas::add_device(const DeviceObject& device) { return reserve(msi_window, device); }
void Ioas::remove_device(const DeviceObject& device) { release(device); }

Status Ioas::set_huge_pages(HugePages huge_pages) {
  if (is_immutable()) return Code::Busy;
  if (huge_pages == x_huge_pages) return {};
  if (huge_pages == HugePages::Forbidden) {
    if (!x_hwpts.empty()) return Code::Invalid;  // their domains may have large leaves, now or later
    TRY(check_alignment(page_size_bytes));
  }
  x_huge_pages = huge_pages;
  return {};
}

std::optional<IovaSpan> Ioas::usable_from(u64 from) const {
  for (bool moved = true; moved;) {
    moved = false;
    for (const Reservation& reservation : x_reserved) {
      if (from < reservation.span.first || from > reservation.span.last) continue;
      if (reservation.span.last == top) return std::nullopt;
      from = reservation.span.last + 1;
      moved = true;
    }
  }
  u64 last = top;
  for (const Reservation& reservation : x_reserved)
    if (reservation.span.first > from) last = std::min(last, reservation.span.first - 1);
  return IovaSpan{from, last};
}

u64 Ioas::state_hash() const {
  u64 hash = abi::checksum_add(id.value, u64{users} << 32 | x_immutable);
  hash = abi::checksum_add(hash, x_hwpts.size() << 8 | static_cast<u64>(x_huge_pages));
  for (const Area& area : x_areas)
    for (u64 word : {area.iova, area.length, area.offset, u64{area.seals} << 8 | static_cast<u64>(area.prot)})
      hash = abi::checksum_add(hash, word);
  for (const Reservation& reservation : x_reserved) {
    hash = abi::checksum_add(hash, reservation.span.first);
    hash = abi::checksum_add(hash, reservation.span.last);
  }
  return hash;
}

}  // namespace holdfast::iommufd
