// MemfdHandler ("memfd-v2"): memory files across a live update: same size, contents, seals, position, and the same
// pages at the same physical addresses. Open flags and mode travel in the attestation.
//
// Outgoing: each block of the file is preserved, and listed in the record. Position and, under policy Holdfast, seals
// are those at the freeze; under policy Linux seals are those at the preserve. Incoming: record and list are untrusted.
// Every block is checked before the first one is taken; then each is restored exactly once. A record that does not hold
// is refused as a whole (Corrupt; Io when another file has its blocks) and its memory stays where it is, to be
// reclaimed: devices may be writing to it. Record and list stay preserved until finish, so that a kernel started again
// finds them. Threads: under the orchestrator's mutex. Failure: what failed changed nothing.
#pragma once

#include "holdfast/abi/memfd.hpp"
#include "holdfast/iommu/core.hpp"
#include "holdfast/luo/handler.hpp"
#include "holdfast/luo/policy.hpp"
#include "holdfast/memfd/mem_file.hpp"

namespace holdfast::memfd {

class MemfdHandler final : public luo::FileHandler {
 public:
  MemfdHandler(Memory& memory, kho::Handover& handover, iommu::Core& core, luo::Policy policy)
      : x_memory(memory), x_handover(handover), x_core(core), x_policy(policy) {}

  [[nodiscard]] std::string_view compatible() const override { return abi::memfd::compatible; }
  [[nodiscard]] bool can_preserve(const luo::File& file) override { return luo::file_cast<MemFile>(&file) != nullptr; }
  /// Errors: Busy (preserved already, in whatever session), NoMemory, TooBig.
  Result<u64> preserve(luo::OutgoingSession& session, luo::File& file, u64 token) override;
  void unpreserve(luo::OutgoingSession& session, luo::File& file, u64 data) override;
  Status freeze(luo::File& file, u64 data) override;
  void unfreeze(luo::File& file, u64 data) override;

  Result<luo::FileRef> retrieve(luo::IncomingSession& session, u64 data) override;
  void finish(luo::IncomingSession& session, luo::File* retrieved, u64 data) override;
  void drop(u64 data) override;

  /// A file that somebody took back is preserved as it is now; Busy when it is preserved for itself already.
  Result<u64> pass_on(luo::File* retrieved, u64 data) override;
  void cancel_pass_on(luo::File* retrieved, u64 data, u64 passed_on) override;

 private:
  struct Contents;
  struct Attested {
    u32 open_flags;
    u32 mode;
  };

  Result<u64> preserve_file(MemFile& file);
  void unpreserve_file(MemFile& file, u64 data);
  Status preserve_extents(std::span<const Extent> extents);
  void unpreserve_extents(std::span<const Extent> extents);
  Status attest(PhysAddr record, u32 open_flags, u32 mode);
  [[nodiscard]] abi::memfd::MemfdRecord* own_record(u64 data) const;
  Result<abi::memfd::MemfdRecord> read_record(u64 data) const;
  Result<Contents> read_contents(u64 data) const;
  Result<Attested> read_attestation(u64 data) const;
  Status check_distinct(u64 data, const Contents& contents) const;
  Result<luo::FileRef> restore(u64 data, Contents&& contents);
  void free_record(u64 data);
  void free_contents(u64 data);
  Result<u64> pass_on_unseen(u64 data);
  Status preserve_all(u64 data, const Contents& contents);
  void unpreserve_all(u64 data, const Contents& contents);

  Memory& x_memory;
  kho::Handover& x_handover;
  iommu::Core& x_core;
  luo::Policy x_policy;
};

}  // namespace holdfast::memfd
