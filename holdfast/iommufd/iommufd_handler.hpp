// IommufdHandler ("holdfast-iommufd-v1"): an iommufd across a live update.
//
// Outgoing: every marked page table is preserved; from then on its address space does not change. All that it maps must
// be sealed memory files preserved in the same session. An iommufd without marks crosses as an empty record. Incoming:
// the record is untrusted (checksum, bounds, domains known to iommu::Core). The file comes back with the tokens of its
// page tables; finish waits until each was taken back and left by its devices, then frees them. Policy Linux answers as
// the series does in its first phase: retrieve NotSupported, never ready to finish. Threads: under the orchestrator's
// mutex. Failure: what failed changed nothing.
#pragma once

#include "holdfast/iommufd/iommufd.hpp"
#include "holdfast/luo/handler.hpp"
#include "holdfast/luo/policy.hpp"

namespace holdfast::iommufd {

class IommufdHandler final : public luo::FileHandler {
 public:
  IommufdHandler(Memory& memory, kho::Handover& handover, iommu::Core& core, luo::Policy policy)
      : x_memory(memory), x_handover(handover), x_core(core), x_policy(policy) {}

  [[nodiscard]] std::string_view compatible() const override { return abi::iommufd::compatible; }
  [[nodiscard]] bool can_preserve(const luo::File& file) override { return luo::file_cast<Iommufd>(&file) != nullptr; }
  /// Errors: those of Iommufd::preserve, NoMemory, TooBig.
  Result<u64> preserve(luo::OutgoingSession& session, luo::File& file, u64 token) override;
  void unpreserve(luo::OutgoingSession& session, luo::File& file, u64 data) override;

  /// Errors: Corrupt (the record), NotFound (nothing of it is left), NotSupported (policy Linux), NoMemory.
  Result<luo::FileRef> retrieve(luo::IncomingSession& session, u64 data) override;
  [[nodiscard]] bool can_finish(luo::IncomingSession& session, luo::File* retrieved, u64 data) override;
  void finish(luo::IncomingSession& session, luo::File* retrieved, u64 data) override;
  void drop(u64 data) override;

  /// The restored page tables that still exist cross again.
  Result<u64> pass_on(luo::File* retrieved, u64 data) override;
  void cancel_pass_on(luo::File* retrieved, u64 data, u64 passed_on) override;

 private:
  Result<u64> write_record(std::span<const abi::iommufd::Hwpt> entries);
  void free_record(u64 data);
  Result<std::span<const abi::iommufd::Hwpt>> read_record(u64 data) const;
  Status pass_on_domains(u64 data, Vec<abi::iommufd::Hwpt>& entries);
  void cancel_domains(std::span<const abi::iommufd::Hwpt> entries);

  Memory& x_memory;
  kho::Handover& x_handover;
  iommu::Core& x_core;
  luo::Policy x_policy;
  List<Iommufd, &Iommufd::x_restored_link> x_retrieved;
};

}  // namespace holdfast::iommufd
