// MemFile: a memory file (memfd): RAM of a guest, mapped into I/O address spaces and carried across a live update.
//
// Contract: a file has all its pages from the moment it has its size; there are no holes. Pages come from the buddy
// allocator in the largest blocks that fit (order 10 down) and never move. Contents beyond the size are zero.
// Seals as in Linux (uapi/holdfast/memfd.h). A file that an address space maps is pinned: it cannot shrink.
// A preserved file keeps its size: changes of it and fallocate answer NotPermitted, a write past the end as well, one
// that crosses the end is cut short; writing inside goes on.
// Threads: one caller at a time (LockRank::Kernel). Failure: Result; what failed changed nothing.
#pragma once

#include <span>

#include "holdfast/luo/file.hpp"
#include "holdfast/memory/memory.hpp"
#include "holdfast/memory/vec.hpp"

namespace holdfast::memfd {

/// One block of the file: pages [first_page, first_page + 2^order).
struct Extent {
  PhysAddr start;
  u32 order = 0;
  u64 first_page = 0;

  constexpr bool operator==(const Extent&) const = default;
  [[nodiscard]] constexpr Block block() const { return {start, order}; }
  [[nodiscard]] constexpr u64 page_count() const { return u64{1} << order; }
  [[nodiscard]] constexpr PhysRange range() const { return {start, page_size_bytes << order}; }
};

/// memfd_create with or without MFD_ALLOW_SEALING.
enum class Sealing : u8 { Allowed, Forbidden };

/// What an address space does with a file while it maps it.
enum class PinAccess : u8 { Read, Write };

/// What Linux reports of a memfd: O_RDWR | O_LARGEFILE, S_IFREG | 0777.
inline constexpr u32 default_open_flags = 0100002;
inline constexpr u32 default_mode = 0100777;

class MemFile final : public luo::File {
 public:
  static constexpr char file_kind = 0;

  /// An empty file. Errors: NoMemory.
  static Result<luo::FileRef> create(Memory& memory, Sealing sealing);
  /// A file made of blocks that are the caller's already (restored). Takes them over on success only.
  /// @p extents cover pages 0, 1, 2 ... without a hole, at least as many as @p size_bytes needs.
  static Result<luo::FileRef> adopt(Memory& memory, Vec<Extent>&& extents, u64 size_bytes, u32 seals);

  [[nodiscard]] const void* kind() const override { return &file_kind; }

  [[nodiscard]] u64 size_bytes() const { return x_size_bytes; }
  [[nodiscard]] std::span<const Extent> extents() const { return x_extents.span(); }

  /// ftruncate. Errors: NotPermitted (sealed, preserved), Busy (shrink while pinned), NoMemory.
  Status truncate(u64 size_bytes);
  /// fallocate: mode 0 grows where needed; FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE zeroes. Errors: as truncate(),
  /// Invalid (empty, wrapping), NotSupported (other modes).
  Status fallocate(u32 mode, u64 offset, u64 length);

  [[nodiscard]] u32 seals() const { return x_seals; }
  /// Errors: Invalid (unknown seal), NotPermitted (sealed against it, or opened read-only), Busy (F_SEAL_WRITE while
  /// mapped writable).
  Status add_seals(u32 seals);

  [[nodiscard]] u64 position() const { return x_position; }
  void seek(u64 position) { x_position = position; }
  [[nodiscard]] u32 mode() const { return x_mode; }
  void set_mode(u32 mode) { x_mode = mode; }
  /// fcntl(F_SETFL) and what a reopen decides.
  using File::set_open_flags;

  Result<u64> pread(luo::CallContext& call, u64 to, u64 length, u64 offset) override;
  Result<u64> pwrite(luo::CallContext& call, u64 from, u64 length, u64 offset) override;

  /// Appends the memory of [offset, offset + length), as few ranges as possible; it must lie inside the file.
  /// Errors: Invalid, NoMemory (what was appended before stays).
  Status runs(u64 offset, u64 length, Vec<PhysRange>& to) const;

  void pin(PinAccess access);
  void unpin(PinAccess access);
  [[nodiscard]] u32 pins() const { return x_pins; }

  [[nodiscard]] bool is_preserved() const { return x_preserved; }

 private:
  friend class MemfdHandler;
  friend class holdfast::Heap;
  MemFile(Memory& memory, u32 seals)
      : File(default_open_flags), x_memory(memory), x_extents(memory.heap), x_seals(seals) {}
  ~MemFile() = default;
  void release() override;

  [[nodiscard]] u64 page_count() const;
  [[nodiscard]] u64 extent_index(u64 page) const;
  Status grow(u64 size_bytes);
  void shrink(u64 size_bytes);
  Result<Extent> allocate_extent(u64 first_page, u64 wanted_pages);
  void release_extent(const Extent& extent);
  [[nodiscard]] std::span<std::byte> piece(u64 offset, u64 length) const;
  void zero(u64 offset, u64 length);
  [[nodiscard]] Result<u64> writable_length(u64 offset, u64 length) const;

  Memory& x_memory;
  Vec<Extent> x_extents;  // by first_page, no holes
  u64 x_size_bytes = 0;
  u64 x_position = 0;
  u32 x_seals;
  u32 x_mode = default_mode;
  u32 x_pins = 0;
  u32 x_write_pins = 0;
  bool x_preserved = false;
};

}  // namespace holdfast::memfd
