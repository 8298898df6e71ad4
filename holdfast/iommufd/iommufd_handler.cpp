#include "holdfast/iommufd/iommufd_handler.hpp"

#include <algorithm>

#include "holdfast/abi/checksum.hpp"

namespace holdfast::iommufd {

using abi::iommufd::Header;
using HwptRecord = abi::iommufd::Hwpt;

namespace {

constexpr u64 record_bytes(u64 count) { return sizeof(Header) + count * sizeof(HwptRecord); }
constexpr u64 max_entries = ((page_size_bytes << max_order) - sizeof(Header)) / sizeof(HwptRecord);

u64 checksum_of_record(const std::byte* record, u64 count) {
  return abi::checksum({record, record_bytes(count)}, offsetof(Header, checksum));
}

}  // namespace

// Outgoing.

Result<u64> IommufdHandler::preserve(luo::OutgoingSession& session, luo::File& file, u64) {
  auto& iommufd = *luo::file_cast<Iommufd>(&file);
  const SealRule rule = x_policy == luo::Policy::Linux ? SealRule::AtMap : SealRule::AtMapOrNow;
  Vec<HwptRecord> entries(x_memory.heap);
  TRY(iommufd.preserve(session, rule, entries));
  const auto record = write_record(entries.span());
  if (!record.ok()) iommufd.unpreserve();
  return record;
}

void IommufdHandler::unpreserve(luo::OutgoingSession&, luo::File& file, u64 data) {
  luo::file_cast<Iommufd>(&file)->unpreserve();
  free_record(data);
}

Result<u64> IommufdHandler::write_record(std::span<const HwptRecord> entries) {
  TRY_ASSIGN(const PhysAddr record, x_handover.alloc_preserve(record_bytes(entries.size())));
  auto* header = x_memory.map.at<Header>(record);
  auto* table = x_memory.map.at<HwptRecord>(record + sizeof(Header));
  std::copy(entries.begin(), entries.end(), table);
  header->nr_hwpts = entries.size();
  header->flags = 0;
  header->checksum = checksum_of_record(x_memory.map.bytes(record), entries.size());
  return record.value;
}

void IommufdHandler::free_record(u64 data) {
  const u64 count = x_memory.map.at<Header>(PhysAddr(data))->nr_hwpts;
  x_handover.unpreserve_free(PhysAddr(data), record_bytes(count));
}

// Incoming.

Result<std::span<const HwptRecord>> IommufdHandler::read_record(u64 data) const {
  const auto block = x_memory.frames.find_incoming(PhysAddr(data));
  if (!block || block->start != PhysAddr(data)) return Code::Corrupt;
  const auto* header = x_memory.map.at<Header>(PhysAddr(data));
  const u64 count = header->nr_hwpts;
  if (count > max_entries || record_bytes(count) > block->size_bytes() || header->flags != 0) return Code::Corrupt;
  if (header->checksum != checksum_of_record(x_memory.map.bytes(PhysAddr(data)), count)) return Code::Corrupt;
  const std::span entries(x_memory.map.at<const HwptRecord>(PhysAddr(data) + sizeof(Header)), count);
  return entries;
}

Result<luo::FileRef> IommufdHandler::retrieve(luo::IncomingSession&, u64 data) {
  if (x_policy == luo::Policy::Linux) return Code::NotSupported;
  TRY_ASSIGN(const std::span<const HwptRecord> entries, read_record(data));
  Vec<RestoredHwpt> table(x_memory.heap);
  for (const HwptRecord& entry : entries) {
    for (const RestoredHwpt& before : table)
      if (before.token == entry.token || before.domain.value == entry.domain_phys) return Code::Corrupt;
    TRY(table.push_back({.token = entry.token, .domain = PhysAddr(entry.domain_phys)}));
  }
  TRY_ASSIGN(luo::FileRef file, Iommufd::create_restored(x_memory, x_core, std::move(table)));
  auto& iommufd = *luo::file_cast<Iommufd>(file.get());
  iommufd.x_restored_data = data;
  x_retrieved.push_back(iommufd);
  return file;
}

bool IommufdHandler::can_finish(luo::IncomingSession&, luo::File* retrieved, u64) {
  if (x_policy == luo::Policy::Linux || retrieved == nullptr) return false;
  return luo::file_cast<Iommufd>(retrieved)->restored_is_consumed();
}

void IommufdHandler::finish(luo::IncomingSession&, luo::File* retrieved, u64 data) {
  if (retrieved == nullptr) return drop(data);
  auto& iommufd = *luo::file_cast<Iommufd>(retrieved);
  iommufd.finish_restored();
  x_retrieved.remove(iommufd);
  x_handover.restore_free(PhysAddr(data));
}

void IommufdHandler::drop(u64 data) {
  for (Iommufd& iommufd : x_retrieved) {
    if (iommufd.x_restored_data != data) continue;
    iommufd.forget_restored();
    x_retrieved.remove(iommufd);
  }
  const auto entries = read_record(data);
  if (!entries.ok()) {
    x_memory.world.log(LogLevel::Warning, "iommufd: a damaged record is left to be reclaimed");
    return;
  }
  for (const HwptRecord& entry : *entries)
    if (!x_core.drop_domain(PhysAddr(entry.domain_phys)).ok())
      x_memory.world.log(LogLevel::Error, "iommufd: a dropped page table stays in memory");
  x_handover.restore_free(PhysAddr(data));
}

Result<u64> IommufdHandler::pass_on(luo::File*, u64 data) {
  Vec<HwptRecord> entries(x_memory.heap);
  TRY(pass_on_domains(data, entries));
  const auto record = write_record(entries.span());
  if (!record.ok()) {
    TRY_ASSIGN(const std::span<const HwptRecord> before, read_record(data));
    cancel_domains(before);
  }
  return record;
}

Status IommufdHandler::pass_on_domains(u64 data, Vec<HwptRecord>& entries) {
  TRY_ASSIGN(const std::span<const HwptRecord> before, read_record(data));
  TRY(entries.reserve(before.size()));
  for (u64 i = 0; i < before.size(); ++i) {
    const auto domain = x_core.find_restored(PhysAddr(before[i].domain_phys));
    // What was freed or is quarantined does not cross; its devices are blocked.
    if (domain.code() == Code::NotFound || domain.code() == Code::Corrupt) continue;
    const auto record = domain.ok() ? x_core.preserve_domain(**domain) : Result<PhysAddr>(domain.code());
    if (!record.ok()) {
      cancel_domains(before.first(i));
      return record.code();
    }
    MUST(entries.push_back({before[i].token, record->value, before[i].page_sizes}), "room was reserved");
  }
  return {};
}

/// @p entries name domains by the previous kernel's records.
void IommufdHandler::cancel_domains(std::span<const HwptRecord> entries) {
  for (u64 i = entries.size(); i-- > 0;) {
    const auto domain = x_core.find_restored(PhysAddr(entries[i].domain_phys));
    if (domain.ok())
      MUST(x_core.unpreserve_domain(**domain), "devices are passed on after their iommufd and cancelled before it");
  }
}

void IommufdHandler::cancel_pass_on(luo::File*, u64 data, u64 passed_on) {
  const auto entries = read_record(data);
  if (entries.ok()) cancel_domains(*entries);
  free_record(passed_on);
}

}  // namespace holdfast::iommufd
