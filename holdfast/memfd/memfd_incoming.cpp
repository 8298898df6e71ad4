// The incoming half of MemfdHandler: everything read here was written by another kernel.
#include <algorithm>

#include "holdfast/memfd/folio_list.hpp"
#include "holdfast/memfd/memfd_handler.hpp"
#include "uapi/holdfast/memfd.h"

namespace holdfast::memfd {

using abi::memfd::MemfdRecord;

namespace {

constexpr u32 known_seals =
    F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC;

/// Whether somebody took the blocks already.
enum class Ownership : u8 { Unseen, Taken };

Result<Ownership> ownership_of(const Memory& memory, std::span<const Folio> folios) {
  u64 incoming = 0;
  for (const Folio& folio : folios)
    if (memory.frames.find_incoming(folio.frame().address())) ++incoming;
  if (incoming == folios.size()) return Ownership::Unseen;
  if (incoming == 0) return Ownership::Taken;
  return Code::Corrupt;
}

}  // namespace

/// What a record says, checked against the preserved map.
struct MemfdHandler::Contents {
  explicit Contents(Heap& heap) : extents(heap) {}
  MemfdRecord record{};
  Ownership ownership = Ownership::Unseen;
  Vec<Extent> extents;  // when Unseen
};

Result<MemfdRecord> MemfdHandler::read_record(u64 data) const {
  const auto block = x_memory.frames.find_incoming(PhysAddr(data));
  if (!block || *block != Block{PhysAddr(data), 0}) return Code::Corrupt;
  const MemfdRecord record = *x_memory.map.at<MemfdRecord>(PhysAddr(data));
  if (record.flags != 0 || (record.seals & ~known_seals) != 0) return Code::NotSupported;
  return record;
}

Result<MemfdHandler::Contents> MemfdHandler::read_contents(u64 data) const {
  Contents contents(x_memory.heap);
  TRY_ASSIGN(contents.record, read_record(data));
  Vec<Folio> folios(x_memory.heap);
  TRY(read_folio_list(x_memory, contents.record.folios, contents.record.folio_count, folios));
  TRY_ASSIGN(contents.ownership, ownership_of(x_memory, folios.span()));
  if (contents.ownership == Ownership::Taken) return contents;

  u64 page = 0;
  for (const Folio& folio : folios) {
    const PhysAddr start = folio.frame().address();
    const auto block = x_memory.frames.find_incoming(start);
    // Preserving fills every page, so that the contents of each block are valid.
    const bool valid = (folio.flags() | Folio::dirty) == (Folio::dirty | Folio::up_to_date);
    if (!block || block->start != start || folio.index != page || !valid) return Code::Corrupt;
    if (x_memory.frames.at(start).mark != 0) return Code::Corrupt;  // a page table, or a record of the IOMMU's
    TRY(contents.extents.push_back({start, block->order, page}));
    page += u64{1} << block->order;
  }
  const u64 wanted = div_ceil(contents.record.size_bytes, page_size_bytes);
  const bool all_used = contents.extents.empty() || contents.extents.back().first_page < wanted;
  if (page < wanted || !all_used) return Code::Corrupt;
  TRY(check_distinct(data, contents));
  return contents;
}

/// A block named twice, or the file's own record named as its contents, would be owned twice.
Status MemfdHandler::check_distinct(u64 data, const Contents& contents) const {
  Vec<u64> starts(x_memory.heap);
  TRY(starts.push_back(data));
  for (const Extent& extent : contents.extents) TRY(starts.push_back(extent.start.value));
  Status status;
  TRY(for_each_list_block(x_memory, contents.record.folios, [&](Block block) {
    if (status.ok()) status = starts.push_back(block.start.value);
  }));
  TRY(status);
  std::sort(starts.begin(), starts.end());
  return std::adjacent_find(starts.begin(), starts.end()) == starts.end() ? Status() : Code::Corrupt;
}

Result<luo::FileRef> MemfdHandler::retrieve(luo::IncomingSession&, u64 data) {
  TRY_ASSIGN(Contents contents, read_contents(data));
  if (contents.ownership == Ownership::Taken) return Code::Io;
  return restore(data, std::move(contents));
}

/// A Linux attests nothing: where there is no attestation at all, the file comes back as it does there.
Result<MemfdHandler::Attested> MemfdHandler::read_attestation(u64 data) const {
  const auto found = x_core.find_memfd(PhysAddr(data));
  if (found.ok()) return Attested{found->open_flags, found->mode};
  const bool may_be_missing = x_policy == luo::Policy::Linux || !x_core.incoming_generation();
  if (found.code() == Code::NotFound && may_be_missing) return Attested{default_open_flags, default_mode};
  return Code::Corrupt;
}

Result<luo::FileRef> MemfdHandler::restore(u64 data, Contents&& contents) {
  TRY_ASSIGN(const Attested attested, read_attestation(data));
  TRY_ASSIGN(luo::FileRef file,
             MemFile::adopt(x_memory, std::move(contents.extents), contents.record.size_bytes, contents.record.seals));
  auto& memory_file = *luo::file_cast<MemFile>(file.get());
  for (const Extent& extent : memory_file.extents())
    MUST(x_handover.restore(extent.start), "checked to be incoming, and each block once");
  memory_file.seek(contents.record.position);
  memory_file.set_open_flags(attested.open_flags);
  memory_file.set_mode(attested.mode);
  return file;
}

void MemfdHandler::finish(luo::IncomingSession&, luo::File* retrieved, u64 data) {
  if (retrieved == nullptr) return free_contents(data);
  const auto& file = *luo::file_cast<MemFile>(retrieved);
  if (!file.is_preserved())
    for (const Extent& extent : file.extents()) x_memory.world.guest_memory(extent.range(), GuestMemory::Unpreserved);
  free_record(data);
}

void MemfdHandler::drop(u64 data) { free_contents(data); }

/// Record and list; the blocks of the file are somebody's.
void MemfdHandler::free_record(u64 data) {
  const auto record = read_record(data);
  if (!record.ok()) return;
  const Status status =
      for_each_list_block(x_memory, record->folios, [this](Block block) { x_handover.restore_free(block.start); });
  if (!status.ok()) x_memory.world.log(LogLevel::Warning, "memfd: a damaged folio list is left to be reclaimed");
  x_handover.restore_free(PhysAddr(data));
}

void MemfdHandler::free_contents(u64 data) {
  const auto contents = read_contents(data);
  if (!contents.ok()) {
    x_memory.world.log(LogLevel::Warning, "memfd: a damaged record and its memory are left to be reclaimed");
    return;
  }
  if (x_core.is_reach_unknown()) {
    x_memory.world.log(LogLevel::Error, "memfd: a unit does not answer; memory that it may still reach stays taken");
    return;
  }
  for (const Extent& extent : contents->extents) {
    x_memory.world.guest_memory(extent.range(), GuestMemory::Revoked);
    x_handover.restore_free(extent.start);
  }
  free_record(data);
}

Result<u64> MemfdHandler::pass_on(luo::File* retrieved, u64 data) {
  if (retrieved != nullptr) return preserve_file(*luo::file_cast<MemFile>(retrieved));
  return pass_on_unseen(data);
}

void MemfdHandler::cancel_pass_on(luo::File* retrieved, u64 data, u64 passed_on) {
  if (retrieved != nullptr) return unpreserve_file(*luo::file_cast<MemFile>(retrieved), passed_on);
  const auto contents = read_contents(data);
  if (contents.ok()) unpreserve_all(data, *contents);
}

Result<u64> MemfdHandler::pass_on_unseen(u64 data) {
  TRY_ASSIGN(const Contents contents, read_contents(data));
  if (contents.ownership == Ownership::Taken) return Code::Io;
  TRY_ASSIGN(const Attested attested, read_attestation(data));
  TRY(preserve_all(data, contents));
  if (const Status status = attest(PhysAddr(data), attested.open_flags, attested.mode); !status.ok()) {
    unpreserve_all(data, contents);
    return status.code();
  }
  return data;
}

Status MemfdHandler::preserve_all(u64 data, const Contents& contents) {
  TRY(x_handover.preserve({PhysAddr(data), 0}));
  Status status;
  MUST(for_each_list_block(x_memory, contents.record.folios,
                           [&](Block block) {
                             if (status.ok()) status = x_handover.preserve(block);
                           }),
       "the list was read a moment ago");
  if (status.ok()) status = preserve_extents(contents.extents.span());
  if (!status.ok()) unpreserve_all(data, contents);
  return status;
}

void MemfdHandler::unpreserve_all(u64 data, const Contents& contents) {
  if (x_policy == luo::Policy::Holdfast) x_core.forget_memfd(PhysAddr(data));
  unpreserve_extents(contents.extents.span());
  MUST(for_each_list_block(x_memory, contents.record.folios, [this](Block block) { x_handover.unpreserve(block); }),
       "the list was read a moment ago");
  x_handover.unpreserve({PhysAddr(data), 0});
}

}  // namespace holdfast::memfd
