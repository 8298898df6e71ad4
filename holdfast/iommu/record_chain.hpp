// RecordChain: one outgoing array of records, in preserved pages, in the layout the next kernel reads at any moment.
//
// Contract: a page is abi::iommu::ArrayHeader and slots. A slot is free when it lies at or beyond nr_objects, or is
// flagged DELETED; its other bytes are then zero. The lowest free slot is taken first; nr_objects never counts a free
// slot at the end; a page without records is given back, the first excepted. So a release after an allocation restores
// every byte, and cycles do not grow the chain. Threads: the core's mutex. Failure: NoMemory, nothing changed.
#pragma once

#include <cstring>

#include "holdfast/abi/iommu.hpp"
#include "holdfast/kho/handover.hpp"

namespace holdfast::iommu {

template <class Record>
class RecordChain {
 public:
  static constexpr u64 capacity = abi::iommu::records_per_page<Record>;

  RecordChain(Memory& memory, kho::Handover& handover) : x_memory(memory), x_handover(handover) {}
  RecordChain(const RecordChain&) = delete;
  RecordChain& operator=(const RecordChain&) = delete;

  /// Makes the first page.
  Status open() {
    TRY_ASSIGN(x_head, x_handover.alloc_preserve(page_size_bytes));
    return {};
  }
  /// Gives everything back. Records still in it are forgotten.
  void close() {
    for (PhysAddr page = x_head; page.value != 0;) {
      const PhysAddr next(header(page).next);
      x_handover.unpreserve_free(page, page_size_bytes);
      page = next;
    }
    x_head = PhysAddr();
  }
  [[nodiscard]] bool is_open() const { return x_head.value != 0; }
  [[nodiscard]] PhysAddr head() const { return x_head; }

  /// A zeroed record. It stays where it is until released.
  Result<PhysAddr> allocate() {
    PhysAddr last;
    for (PhysAddr page = x_head; page.value != 0; page = PhysAddr(header(page).next)) {
      last = page;
      for (u64 slot = 0; slot < header(page).nr_objects; ++slot) {
        Record& record = at(slot_address(page, slot));
        if ((record.header.flags & abi::iommu::flag_deleted) == 0) continue;
        record = Record{};
        return slot_address(page, slot);
      }
      if (header(page).nr_objects < capacity) return slot_address(page, header(page).nr_objects++);
    }
    TRY_ASSIGN(const PhysAddr page, x_handover.alloc_preserve(page_size_bytes));
    header(page).nr_objects = 1;
    header(last).next = page.value;
    return slot_address(page, 0);
  }

  void release(PhysAddr record) {
    const PhysAddr page(align_down(record.value, page_size_bytes));
    at(record) = Record{};
    at(record).header.flags = abi::iommu::flag_deleted;
    u64& count = header(page).nr_objects;
    while (count != 0 && (at(slot_address(page, count - 1)).header.flags & abi::iommu::flag_deleted) != 0) {
      at(slot_address(page, count - 1)) = Record{};
      --count;
    }
    if (count == 0 && page != x_head) unlink(page);
  }

  [[nodiscard]] Record& at(PhysAddr record) const { return *x_memory.map.at<Record>(record); }

  /// @p f(PhysAddr, Record&) for each record in use.
  template <class F>
  void for_each(F&& f) const {
    for (PhysAddr page = x_head; page.value != 0; page = PhysAddr(header(page).next)) {
      for (u64 slot = 0; slot < header(page).nr_objects; ++slot) {
        const PhysAddr address = slot_address(page, slot);
        if ((at(address).header.flags & abi::iommu::flag_deleted) == 0) f(address, at(address));
      }
    }
  }
  /// The first record in use for which @p matches(const Record&); 0 if there is none.
  template <class F>
  [[nodiscard]] PhysAddr find(F&& matches) const {
    for (PhysAddr page = x_head; page.value != 0; page = PhysAddr(header(page).next)) {
      for (u64 slot = 0; slot < header(page).nr_objects; ++slot) {
        const Record& record = at(slot_address(page, slot));
        if ((record.header.flags & abi::iommu::flag_deleted) == 0 && matches(record)) return slot_address(page, slot);
      }
    }
    return {};
  }
  /// @p f(PhysAddr) for each page.
  template <class F>
  void for_each_page(F&& f) const {
    for (PhysAddr page = x_head; page.value != 0; page = PhysAddr(header(page).next)) f(page);
  }

 private:
  using Header = abi::iommu::ArrayHeader;

  [[nodiscard]] Header& header(PhysAddr page) const { return *x_memory.map.at<Header>(page); }
  [[nodiscard]] static PhysAddr slot_address(PhysAddr page, u64 slot) {
    return page + sizeof(Header) + slot * sizeof(Record);
  }
  void unlink(PhysAddr page) {
    PhysAddr before = x_head;
    while (header(before).next != page.value) before = PhysAddr(header(before).next);
    header(before).next = header(page).next;
    x_handover.unpreserve_free(page, page_size_bytes);
  }

  Memory& x_memory;
  kho::Handover& x_handover;
  PhysAddr x_head;
};

}  // namespace holdfast::iommu
