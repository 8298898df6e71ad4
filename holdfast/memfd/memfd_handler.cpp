// The outgoing half of MemfdHandler.
#include "holdfast/memfd/memfd_handler.hpp"

#include "holdfast/memfd/folio_list.hpp"

namespace holdfast::memfd {

using abi::memfd::MemfdRecord;

MemfdRecord* MemfdHandler::own_record(u64 data) const { return x_memory.map.at<MemfdRecord>(PhysAddr(data)); }

Result<u64> MemfdHandler::preserve(luo::OutgoingSession&, luo::File& file, u64) {
  return preserve_file(*luo::file_cast<MemFile>(&file));
}

void MemfdHandler::unpreserve(luo::OutgoingSession&, luo::File& file, u64 data) {
  unpreserve_file(*luo::file_cast<MemFile>(&file), data);
}

Result<u64> MemfdHandler::preserve_file(MemFile& file) {
  if (file.is_preserved()) return Code::Busy;
  TRY_ASSIGN(const PhysAddr record, x_handover.alloc_preserve(sizeof(MemfdRecord)));
  auto list = write_folio_list(x_memory, x_handover, file.extents());
  Status status = list.ok() ? preserve_extents(file.extents()) : Status(list.code());
  if (status.ok()) {
    status = attest(record, file.open_flags(), file.mode());
    if (!status.ok()) unpreserve_extents(file.extents());
  }
  if (!status.ok()) {
    if (list.ok()) free_folio_list(x_memory, x_handover, *list);
    x_handover.unpreserve_free(record, sizeof(MemfdRecord));
    return status.code();
  }
  *own_record(record.value) = {.position = file.position(),
                               .size_bytes = file.size_bytes(),
                               .seals = file.seals(),
                               .flags = 0,
                               .folio_count = file.extents().size(),
                               .folios = *list};
  file.x_preserved = true;
  return record.value;
}

void MemfdHandler::unpreserve_file(MemFile& file, u64 data) {
  if (x_policy == luo::Policy::Holdfast) x_core.forget_memfd(PhysAddr(data));
  unpreserve_extents(file.extents());
  free_folio_list(x_memory, x_handover, own_record(data)->folios);
  x_handover.unpreserve_free(PhysAddr(data), sizeof(MemfdRecord));
  file.x_preserved = false;
}

Status MemfdHandler::preserve_extents(std::span<const Extent> extents) {
  for (u64 i = 0; i < extents.size(); ++i) {
    const Status status = x_handover.preserve(extents[i].block());
    if (!status.ok()) {
      for (u64 k = i; k-- > 0;) x_handover.unpreserve(extents[k].block());
      return status;
    }
  }
  for (const Extent& extent : extents) x_memory.world.guest_memory(extent.range(), GuestMemory::Preserved);
  return {};
}

void MemfdHandler::unpreserve_extents(std::span<const Extent> extents) {
  for (const Extent& extent : extents) {
    x_memory.world.guest_memory(extent.range(), GuestMemory::Unpreserved);
    x_handover.unpreserve(extent.block());
  }
}

/// Linux's records have no room for it, and its memfds come back plain.
Status MemfdHandler::attest(PhysAddr record, u32 open_flags, u32 mode) {
  if (x_policy == luo::Policy::Linux) return {};
  return x_core.attest_memfd(record, open_flags, mode);
}

Status MemfdHandler::freeze(luo::File& file, u64 data) {
  const auto& memory_file = *luo::file_cast<MemFile>(&file);
  MemfdRecord& record = *own_record(data);
  x_memory.touches.file();
  record.position = memory_file.position();
  if (x_policy == luo::Policy::Holdfast) record.seals = memory_file.seals();
  return {};
}

/// Nothing to take back: position and seals in the record mean something at a freeze only.
void MemfdHandler::unfreeze(luo::File&, u64) {}

}  // namespace holdfast::memfd
