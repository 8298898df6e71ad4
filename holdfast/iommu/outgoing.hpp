// Outgoing: the records and the attestation that this kernel leaves for the next, as bytes.
//
// Contract: knows layouts and checksums, not what they mean; the core fills records in and calls seal() after each
// change, so that every checksum holds at every moment. Threads: the core's mutex. Failure: NoMemory, nothing changed.
#pragma once

#include <span>

#include "holdfast/abi/attest.hpp"
#include "holdfast/iommu/record_chain.hpp"
#include "holdfast/memory/table_arena.hpp"

namespace holdfast::iommu {

class Outgoing {
 public:
  Outgoing(Memory& memory, kho::Handover& handover);

  /// Header page and the first page of each chain; answers the address of the header.
  Result<PhysAddr> open_records(u64 version);
  void close_records();
  Result<PhysAddr> open_attest(TableMode mode);
  void close_attest();
  [[nodiscard]] bool has_records() const { return x_records.value != 0; }
  [[nodiscard]] bool has_attest() const { return x_attest.value != 0; }

  /// Pages for @p blocks (by rising address); 0 when there are none.
  Result<PhysAddr> write_block_list(std::span<const Block> blocks);
  void free_block_list(PhysAddr first);

  void set_generation(u64 generation);

  /// Checksum of an attestation record and of the record it attests.
  template <class Attest, class Record>
  void seal(Attest& attest, const Record& record) {
    attest.record_checksum = abi::checksum_of_all(record);
    attest.checksum = abi::checksum_of(attest);
  }

  /// Over every byte of every page.
  [[nodiscard]] u64 state_hash() const;

  RecordChain<abi::iommu::Unit> units;
  RecordChain<abi::iommu::Domain> domains;
  RecordChain<abi::iommu::Device> devices;
  RecordChain<abi::attest::UnitAttest> unit_attests;
  RecordChain<abi::attest::DomainAttest> domain_attests;
  RecordChain<abi::attest::DeviceAttest> device_attests;
  RecordChain<abi::attest::MemfdAttest> memfd_attests;

 private:
  [[nodiscard]] abi::attest::Header& attest_header() const { return *x_memory.map.at<abi::attest::Header>(x_attest); }

  Memory& x_memory;
  kho::Handover& x_handover;
  PhysAddr x_records;  // the IommuFlb page
  PhysAddr x_attest;   // the attestation header page
};

}  // namespace holdfast::iommu
