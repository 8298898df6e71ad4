// Ioas: an I/O address space: areas of memory files at IOVAs, and the hardware page tables that are kept filled with
// them.
//
// Contract: a map reaches every hardware page table or none. An area is unmapped whole or not at all, and an unmap that
// would split one changes nothing. (Where a unit does not answer an unmap, the area stays, and tables may have lost
// it.) While a page table of it is preserved the address space is immutable (Busy).
// An area remembers the seals its file had when it was mapped, pins the file and holds a reference. Where a unit does
// not say that it has forgotten an area that goes, pin and reference stay for good: the memory is nobody else's.
// Threads: under the iommufd's mutex. Failure: Result; what failed changed nothing, unless it says otherwise.
#pragma once

#include <optional>

#include "holdfast/iommu/core.hpp"
#include "holdfast/iommufd/object.hpp"
#include "holdfast/memfd/mem_file.hpp"

namespace holdfast::iommufd {

struct Hwpt;
struct DeviceObject;

struct Area {
  u64 iova = 0;
  u64 length = 0;
  u64 offset = 0;  // in the file
  pt::Prot prot = pt::Prot::None;
  u32 seals = 0;  // of the file when it was mapped
  luo::FileRef file;

  [[nodiscard]] u64 last() const { return iova + (length - 1); }
  [[nodiscard]] memfd::MemFile& memory() const { return *luo::file_cast<memfd::MemFile>(file.get()); }
};

struct IovaSpan {
  u64 first = 0;
  u64 last = 0;

  constexpr bool operator==(const IovaSpan&) const = default;
};

/// Interrupt messages of x86: never memory.
inline constexpr IovaSpan msi_window{0xfee00000, 0xfeefffff};

/// Largest leaves the option allows.
enum class HugePages : u8 { Allowed, Forbidden };

class Ioas final : public Object {
 public:
  static constexpr ObjectKind object_kind = ObjectKind::Ioas;

  Ioas(Memory& memory, iommu::Core& core)
      : Object(object_kind),
        x_memory(memory),
        x_core(core),
        x_areas(memory.heap),
        x_hwpts(memory.heap),
        x_reserved(memory.heap) {}
  /// Drops the areas; no page table is left.
  ~Ioas();

  struct MapRequest {
    luo::FileRef file;
    u64 offset = 0;
    u64 length = 0;
    pt::Prot prot = pt::Prot::None;
    std::optional<u64> fixed_iova;  // else the first that fits
  };
  /// The IOVA. Errors: Busy (immutable), Invalid, Overflow, Exists, NoSpace, NotPermitted (write to what is sealed),
  /// NoMemory; TimedOut, Io (nothing is mapped, but the file may stay taken).
  Result<u64> map(MapRequest request);
  /// Every area inside [iova, iova + length); the bytes that were mapped. Errors: Busy, Invalid, Overflow, NotFound
  /// (nothing there, or an area is covered in part); those of iommu::Core::unmap: what was unmapped before stays so.
  Result<u64> unmap(u64 iova, u64 length);
  Result<u64> unmap_all();

  /// Fills the table behind @p hwpt with all areas and keeps it so. On failure the table's contents are undefined.
  /// Errors: AddressInUse (an area is beyond its reach or misaligned for it), NoMemory.
  Status add_hwpt(Hwpt& hwpt);
  void remove_hwpt(const Hwpt& hwpt);
  /// The areas go, but not their memory: hardware may reach it, and nobody can say until when.
  void abandon_areas();
  [[nodiscard]] std::span<Hwpt* const> hwpts() const { return x_hwpts.span(); }

  /// Takes the device's reserved ranges out of use. Errors: AddressInUse, NoMemory.
  Status add_device(const DeviceObject& device);
  void remove_device(const DeviceObject& device);

  [[nodiscard]] HugePages huge_pages() const { return x_huge_pages; }
  /// Errors: Busy, Invalid (tables of the other kind exist), AddressInUse (areas are not page-aligned).
  Status set_huge_pages(HugePages huge_pages);
  /// Mask of leaf sizes for a new domain; 0: all.
  [[nodiscard]] u64 leaf_sizes() const { return x_huge_pages == HugePages::Forbidden ? page_size_bytes : 0; }
  [[nodiscard]] u64 alignment() const;

  [[nodiscard]] std::span<const Area> areas() const { return x_areas.span(); }
  /// The first usable span that ends at or after @p from.
  [[nodiscard]] std::optional<IovaSpan> usable_from(u64 from) const;

  /// Preserved page tables of this address space.
  void make_immutable() { ++x_immutable; }
  void make_mutable() { --x_immutable; }
  [[nodiscard]] bool is_immutable() const { return x_immutable != 0; }

  /// Over areas, options, reservations and counts.
  [[nodiscard]] u64 state_hash() const;

 private:
  /// Whether hardware may have seen an area that could not be mapped.
  enum class Reach : u8 { None, Perhaps };
  struct Reservation {
    IovaSpan span;
    const Object* owner = nullptr;
  };

  [[nodiscard]] u64 first_area_from(u64 iova) const;
  [[nodiscard]] bool overlaps_area(IovaSpan span) const;
  [[nodiscard]] const Reservation* find_reservation(IovaSpan span) const;
  Status check_file(const MapRequest& request) const;
  Result<u64> place(const MapRequest& request) const;
  Result<u64> place_fixed(u64 iova, u64 length) const;
  Result<u64> place_anywhere(u64 offset, u64 length) const;
  Status reserve(IovaSpan span, const Object& owner);
  void release(const Object& owner);
  Status fill(const Area& area, Reach& left);
  Status clear(const Area& area);
  void drop_area(u64 index);
  void abandon_area(u64 index);
  void say_abandoned() const;
  [[nodiscard]] Status check_alignment(u64 alignment) const;

  Memory& x_memory;
  iommu::Core& x_core;
  Vec<Area> x_areas;  // by iova, disjoint
  Vec<Hwpt*> x_hwpts;
  Vec<Reservation> x_reserved;
  HugePages x_huge_pages = HugePages::Allowed;
  u32 x_immutable = 0;
};

}  // namespace holdfast::iommufd
