// RecordBlock: a growing array of records in preserved memory, in the layout that crosses the jump.
//
// One naturally aligned block (order 10 at most); when it is full, a larger one takes its place. Growing is done in two
// steps so that a caller can fail in between without a trace: make_room() allocates, then commit() or cancel().
// Records are stored dense; bytes beyond the last record are zero.
// Threads: none of its own. Failure: NoMemory, NoSpace (more records than the largest block holds).
#pragma once

#include "holdfast/abi/luo.hpp"
#include "holdfast/kho/handover.hpp"
#include "holdfast/memory/memory.hpp"

namespace holdfast::luo {

class RecordBlock {
 public:
  struct Shape {
    u64 header_bytes;
    u64 record_bytes;
    u32 first_order;
    u32 last_order;

    [[nodiscard]] constexpr u64 capacity(u32 order) const {
      return ((page_size_bytes << order) - header_bytes) / record_bytes;
    }
  };
  static constexpr Shape sessions{sizeof(abi::luo::SessionHeader), sizeof(abi::luo::SessionRecord),
                                  abi::luo::session_block_order, max_order};
  static constexpr Shape files{0, sizeof(abi::luo::FileRecord), abi::luo::file_block_order, max_order};
  static constexpr Shape flbs{sizeof(abi::luo::FlbHeader), sizeof(abi::luo::FlbRecord), abi::luo::flb_block_order,
                              abi::luo::flb_block_order};

  RecordBlock(Memory& memory, kho::Handover& handover, Shape shape)
      : x_memory(memory), x_handover(handover), x_shape(shape) {}
  RecordBlock(const RecordBlock&) = delete;
  RecordBlock& operator=(const RecordBlock&) = delete;

  /// Room for @p count records from commit() on.
  Status make_room(u64 count);
  void commit();
  void cancel();
  /// Moves @p count records to a smaller block when they fit one; keeps the large one when there is no memory for that.
  void shrink(u64 count);
  void free();

  /// 0 before the first commit().
  [[nodiscard]] PhysAddr address() const { return x_address; }
  [[nodiscard]] u64 capacity() const { return exists() ? x_shape.capacity(x_order) : 0; }
  template <class Header>
  [[nodiscard]] Header* header() const {
    return x_memory.map.at<Header>(x_address);
  }
  template <class Record>
  [[nodiscard]] Record* record(u64 index) const {
    return x_memory.map.at<Record>(x_address + x_shape.header_bytes + index * x_shape.record_bytes);
  }

 private:
  [[nodiscard]] bool exists() const { return x_address != PhysAddr{}; }
  void replace(PhysAddr address, u32 order);

  Memory& x_memory;
  kho::Handover& x_handover;
  Shape x_shape;
  PhysAddr x_address;
  u32 x_order = 0;
  PhysAddr x_next;  // the larger block, between make_room() and commit()
  u32 x_next_order = 0;
};

}  // namespace holdfast::luo
