// VfioHandler ("holdfast-vfio-pci-v1"): a device file across a live update, while its device goes on.
//
// Outgoing: an attached device needs its iommufd preserved in the same session and its page table marked there; its
// attachment and its PCI function are preserved. A device that is not attached crosses as a PCI function alone.
// Incoming: the record is untrusted. Retrieving pulls the iommufd in first, in whichever order user space asks. The
// file is bound and attached already; the device is not reset and its configuration space is not touched. finish waits
// until the device has left what the previous kernel built. Passing on: a device that is retrieved and preserved for
// itself, or has left its restored page table, has nothing left to pass on; its record is then data 0, which can be
// finished and not retrieved (NotFound). Policy Linux answers as the series does in its first phase: retrieved without
// its iommufd, never ready to finish. Threads: under the orchestrator's mutex. Failure: what failed changed nothing.
#pragma once

#include "holdfast/abi/vfio.hpp"
#include "holdfast/luo/handler.hpp"
#include "holdfast/luo/policy.hpp"
#include "holdfast/vfio/vfio_device.hpp"

namespace holdfast::vfio {

class VfioHandler final : public luo::FileHandler {
 public:
  VfioHandler(Memory& memory, kho::Handover& handover, iommu::Core& core, Devices& devices, luo::Policy policy)
      : x_memory(memory), x_handover(handover), x_core(core), x_devices(devices), x_policy(policy) {}

  [[nodiscard]] std::string_view compatible() const override { return abi::vfio::compatible; }
  [[nodiscard]] bool can_preserve(const luo::File& file) override {
    return luo::file_cast<VfioDevice>(&file) != nullptr;
  }
  /// Errors: Busy (already), Invalid (not bound, or its page table is not preserved), NotFound (its iommufd is not
  /// preserved in this session), those of Core::preserve_device and Pci::preserve, NoMemory.
  Result<u64> preserve(luo::OutgoingSession& session, luo::File& file, u64 token) override;
  void unpreserve(luo::OutgoingSession& session, luo::File& file, u64 data) override;

  /// Errors: Corrupt (the record, or a device in quarantine), NoDevice (no such function any more), Mismatch (it is not
  /// incoming), those of retrieving its iommufd, NoMemory.
  Result<luo::FileRef> retrieve(luo::IncomingSession& session, u64 data) override;
  [[nodiscard]] bool can_finish(luo::IncomingSession& session, luo::File* retrieved, u64 data) override;
  void finish(luo::IncomingSession& session, luo::File* retrieved, u64 data) override;
  void drop(u64 data) override;

  Result<u64> pass_on(luo::File* retrieved, u64 data) override;
  void cancel_pass_on(luo::File* retrieved, u64 data, u64 passed_on) override;

 private:
  Result<abi::vfio::Device> preserve_attachment(const luo::OutgoingSession& session, const VfioDevice& file);
  Result<u64> write_record(abi::vfio::Device record);
  [[nodiscard]] Result<abi::vfio::Device> read_record(u64 data) const;
  Status bind_retrieved(luo::IncomingSession& session, const abi::vfio::Device& record, VfioDevice& file);
  Result<u64> pass_on_device(abi::vfio::Device record, Slot& slot);

  Memory& x_memory;
  kho::Handover& x_handover;
  iommu::Core& x_core;
  Devices& x_devices;
  luo::Policy x_policy;
};

}  // namespace holdfast::vfio
