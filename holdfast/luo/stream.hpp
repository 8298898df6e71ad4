// IncomingStream: reads the records that the previous kernel's orchestrator left, without allocating or changing
// anything.
//
// Contract: versions are read before anything they describe; every block must be preserved by the previous kernel,
// every count fit its block, every string end inside its field. Usable from the first moment of a live boot, and until
// the orchestrator has freed the records (when the last incoming session is finished). Threads: read-only. Failure:
// Result; sessions and FLBs are judged apart, so that one does not cost the other.
#pragma once

#include <string_view>

#include "holdfast/abi/luo.hpp"
#include "holdfast/base/result.hpp"
#include "holdfast/kho/incoming_map.hpp"
#include "holdfast/memory/direct_map.hpp"

namespace holdfast::luo {

class IncomingStream {
 public:
  /// Errors: NoData (the previous kernel left nothing), UnknownVersion, Corrupt.
  static Result<IncomingStream> open(const DirectMap& map, const kho::IncomingMap& incoming);

  [[nodiscard]] u64 number() const { return x_number; }

  /// Ok, UnknownVersion or Corrupt: whether session_count() and session() may be used.
  [[nodiscard]] Code sessions_state() const { return x_sessions.state; }
  [[nodiscard]] u64 session_count() const { return x_sessions.count; }
  /// As written: nothing in it is checked. @p index < session_count().
  [[nodiscard]] abi::luo::SessionRecord session(u64 index) const;
  /// The block of a session's file records after all checks; start 0 when it has none. Errors: Corrupt.
  [[nodiscard]] Result<Block> file_block(const abi::luo::FileSet& set) const;
  /// As written. @p index below the set's count; @p block from file_block().
  [[nodiscard]] abi::luo::FileRecord file(Block block, u64 index) const;

  [[nodiscard]] Code flbs_state() const { return x_flbs.state; }
  [[nodiscard]] u64 flb_count() const { return x_flbs.count; }
  [[nodiscard]] abi::luo::FlbRecord flb(u64 index) const;
  /// Errors: NotFound; Corrupt, UnknownVersion (the FLB block cannot be read, or the name stands in it twice).
  [[nodiscard]] Result<u64> find_flb(std::string_view name) const;

  [[nodiscard]] PhysAddr tree() const { return x_tree; }
  [[nodiscard]] PhysAddr session_block() const { return x_sessions.block.start; }
  [[nodiscard]] PhysAddr flb_block() const { return x_flbs.block.start; }

 private:
  struct Part {
    Code state = Code::Corrupt;
    Block block;
    u64 count = 0;
  };
  IncomingStream(const DirectMap& map, const kho::IncomingMap& incoming) : x_map(&map), x_incoming(&incoming) {}
  Status read_tree(const std::byte* fdt);
  [[nodiscard]] Result<Block> read_part(const std::byte* fdt, std::string_view node, std::string_view compatible,
                                        std::string_view property, unsigned smallest_order) const;
  /// The preserved block that starts at @p address, is as large as such a block is made at least, and is not known to
  /// be something else. Errors: Corrupt.
  [[nodiscard]] Result<Block> find_record_block(PhysAddr address, unsigned smallest_order) const;

  const DirectMap* x_map;
  const kho::IncomingMap* x_incoming;
  PhysAddr x_tree;
  u64 x_number = 0;
  Part x_sessions;
  Part x_flbs;
};

/// The data of an FLB that the previous kernel left: for code that runs before there is an orchestrator.
/// Errors: NoData (no live update data), NotFound, UnknownVersion, Corrupt.
[[nodiscard]] Result<u64> early_find_flb(const DirectMap& map, const kho::IncomingMap& incoming, std::string_view name);

/// True when @p field, of @p capacity bytes, holds a NUL and something before it.
[[nodiscard]] bool is_proper_string(const char* field, u64 capacity);
/// The text of @p field up to its NUL, all of it when it has none.
[[nodiscard]] std::string_view bounded_text(const char* field, u64 capacity);

}  // namespace holdfast::luo
