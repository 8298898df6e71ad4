#include "holdfast/memfd/mem_file.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "uapi/holdfast/memfd.h"

namespace holdfast::memfd {
namespace {

constexpr u32 known_seals =
    F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC;
constexpr u32 access_mode = 3;  // O_ACCMODE
constexpr u32 read_only = 0;
constexpr u32 write_only = 1;
constexpr u32 keep_size = 1;   // FALLOC_FL_KEEP_SIZE
constexpr u32 punch_hole = 2;  // FALLOC_FL_PUNCH_HOLE

}  // namespace

Result<luo::FileRef> MemFile::create(Memory& memory, Sealing sealing) {
  TRY_ASSIGN(MemFile * file, memory.heap.create<MemFile>(memory, sealing == Sealing::Allowed ? 0u : u32{F_SEAL_SEAL}));
  return luo::FileRef::adopt(file);
}

Result<luo::FileRef> MemFile::adopt(Memory& memory, Vec<Extent>&& extents, u64 size_bytes, u32 seals) {
  TRY_ASSIGN(MemFile * file, memory.heap.create<MemFile>(memory, seals));
  file->x_extents = std::move(extents);
  file->x_size_bytes = size_bytes;
  return luo::FileRef::adopt(file);
}

void MemFile::release() {
  verify_invariant(x_pins == 0 && !x_preserved, "a memory file was freed while it was pinned or preserved");
  for (const Extent& extent : x_extents) release_extent(extent);
  x_memory.heap.destroy(this);
}

u64 MemFile::page_count() const {
  if (x_extents.empty()) return 0;
  const Extent& last = x_extents[x_extents.size() - 1];
  return last.first_page + last.page_count();
}

u64 MemFile::extent_index(u64 page) const {
  const auto after = std::upper_bound(x_extents.begin(), x_extents.end(), page,
                                      [](u64 wanted, const Extent& extent) { return wanted < extent.first_page; });
  return static_cast<u64>(after - x_extents.begin()) - 1;
}

Status MemFile::truncate(u64 size_bytes) {
  if (size_bytes == x_size_bytes) return {};
  if (x_preserved) return Code::NotPermitted;
  if (size_bytes > x_size_bytes) {
    if ((x_seals & F_SEAL_GROW) != 0) return Code::NotPermitted;
    return grow(size_bytes);
  }
  if ((x_seals & F_SEAL_SHRINK) != 0) return Code::NotPermitted;
  if (x_pins != 0) return Code::Busy;  // devices would go on writing to pages that are no longer the file's
  shrink(size_bytes);
  return {};
}

Status MemFile::grow(u64 size_bytes) {
  const u64 wanted = div_ceil(size_bytes, page_size_bytes);
  if (wanted > x_memory.frames.count()) return Code::NoMemory;
  Vec<Extent> fresh(x_memory.heap);
  Status status;
  for (u64 page = page_count(); status.ok() && page < wanted;) {
    auto extent = allocate_extent(page, wanted - page);
    status = extent.ok() ? fresh.push_back(*extent) : Status(extent.code());
    if (!status.ok() && extent.ok()) release_extent(*extent);
    if (status.ok()) page += extent->page_count();
  }
  if (status.ok()) status = x_extents.reserve(x_extents.size() + fresh.size());
  if (!status.ok()) {
    for (const Extent& extent : fresh) release_extent(extent);
    return status;
  }
  for (const Extent& extent : fresh) MUST(x_extents.push_back(extent), "room was reserved");
  x_size_bytes = size_bytes;
  return {};
}

void MemFile::shrink(u64 size_bytes) {
  const u64 wanted = div_ceil(size_bytes, page_size_bytes);
  while (!x_extents.empty() && x_extents.back().first_page >= wanted) {
    release_extent(x_extents.back());
    x_extents.pop_back();
  }
  // A block is given back whole or not at all; what is kept beyond the size is zero, ready for a later growth.
  const u64 end = std::min(page_count() * page_size_bytes, x_size_bytes);
  if (end > size_bytes) zero(size_bytes, end - size_bytes);
  x_size_bytes = size_bytes;
}

Result<Extent> MemFile::allocate_extent(u64 first_page, u64 wanted_pages) {
  const auto aligned = static_cast<unsigned>(std::countr_zero(first_page));  // so that large leaves fit file offsets
  const auto fitting = static_cast<unsigned>(std::bit_width(wanted_pages) - 1);
  for (unsigned order = std::min({aligned, fitting, max_order}) + 1; order-- > 0;) {
    auto start = x_memory.buddy.allocate_zeroed(order);
    if (!start.ok()) continue;
    const Extent extent{*start, order, first_page};
    x_memory.world.guest_memory(extent.range(), GuestMemory::Granted);
    return extent;
  }
  return Code::NoMemory;
}

void MemFile::release_extent(const Extent& extent) {
  x_memory.world.guest_memory(extent.range(), GuestMemory::Revoked);
  x_memory.buddy.release(extent.start, extent.order);
}

Status MemFile::fallocate(u32 mode, u64 offset, u64 length) {
  const auto last = checked_last(offset, length);
  if (!last || *last == ~u64{0}) return Code::Invalid;
  if (mode != 0 && mode != keep_size && mode != (punch_hole | keep_size)) return Code::NotSupported;
  if (x_preserved) return Code::NotPermitted;
  if (mode == 0) return *last < x_size_bytes ? Status() : truncate(*last + 1);
  if (mode == keep_size) return {};
  if ((x_seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) return Code::NotPermitted;
  if (offset < x_size_bytes) zero(offset, std::min(length, x_size_bytes - offset));
  return {};
}

Status MemFile::add_seals(u32 seals) {
  if ((seals & ~known_seals) != 0) return Code::Invalid;
  if ((open_flags() & access_mode) == read_only) return Code::NotPermitted;
  if ((x_seals & F_SEAL_SEAL) != 0) return Code::NotPermitted;
  if ((seals & F_SEAL_WRITE) != 0 && x_write_pins != 0) return Code::Busy;
  x_seals |= seals;
  return {};
}

void MemFile::pin(PinAccess access) {
  ++x_pins;
  if (access == PinAccess::Write) ++x_write_pins;
}

void MemFile::unpin(PinAccess access) {
  verify_invariant(x_pins != 0, "a memory file was unpinned more often than pinned");
  --x_pins;
  if (access == PinAccess::Write) --x_write_pins;
}

Status MemFile::runs(u64 offset, u64 length, Vec<PhysRange>& to) const {
  const auto last = checked_last(offset, length);
  if (!last || *last >= x_size_bytes) return Code::Invalid;
  while (length != 0) {
    const Extent& extent = x_extents[extent_index(offset >> page_lg2)];
    const u64 within = offset - (extent.first_page << page_lg2);
    const PhysRange run{extent.start + within, std::min(length, extent.range().size_bytes - within)};
    const bool adjacent = !to.empty() && to.back().start + to.back().size_bytes == run.start;
    if (adjacent)
      to.back().size_bytes += run.size_bytes;
    else
      TRY(to.push_back(run));
    offset += run.size_bytes;
    length -= run.size_bytes;
  }
  return {};
}

std::span<std::byte> MemFile::piece(u64 offset, u64 length) const {
  const Extent& extent = x_extents[extent_index(offset >> page_lg2)];
  const u64 within = offset - (extent.first_page << page_lg2);
  return {x_memory.map.bytes(extent.start) + within, std::min(length, extent.range().size_bytes - within)};
}

void MemFile::zero(u64 offset, u64 length) {
  while (length != 0) {
    const auto part = piece(offset, length);
    std::memset(part.data(), 0, part.size());
    offset += part.size();
    length -= part.size();
  }
}

Result<u64> MemFile::pread(luo::CallContext& call, u64 to, u64 length, u64 offset) {
  if ((open_flags() & access_mode) == write_only) return Code::BadFd;
  if (offset >= x_size_bytes) return u64{0};
  length = std::min(length, x_size_bytes - offset);
  u64 done = 0;
  while (done < length) {
    const auto part = piece(offset + done, length - done);
    const Status status = call.user.write(to + done, part);
    if (!status.ok() && done == 0) return status.code();
    if (!status.ok()) break;
    done += part.size();
  }
  return done;
}

Result<u64> MemFile::writable_length(u64 offset, u64 length) const {
  if ((open_flags() & access_mode) == read_only) return Code::BadFd;
  if (length == 0) return u64{0};
  const auto last = checked_last(offset, length);
  if (!last || *last > ~u64{0} >> 1) return Code::Invalid;  // beyond Linux's largest offset
  if ((x_seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) return Code::NotPermitted;
  const bool fixed_size = x_preserved || (x_seals & F_SEAL_GROW) != 0;
  if (!fixed_size || *last < x_size_bytes) return length;
  if (offset >= x_size_bytes) return Code::NotPermitted;
  return x_size_bytes - offset;
}

Result<u64> MemFile::pwrite(luo::CallContext& call, u64 from, u64 length, u64 offset) {
  TRY_ASSIGN(length, writable_length(offset, length));
  if (length == 0) return u64{0};
  const u64 size_before = x_size_bytes;
  if (offset + length > x_size_bytes) TRY(grow(offset + length));
  u64 done = 0;
  Status status;
  while (status.ok() && done < length) {
    const auto part = piece(offset + done, length - done);
    status = call.user.read(from + done, part);
    if (status.ok()) done += part.size();
  }
  if (x_size_bytes > size_before) shrink(std::max(size_before, done == 0 ? 0 : offset + done));
  if (!status.ok() && done == 0) return status.code();
  return done;
}

}  // namespace holdfast::memfd
