// A live update as somebody sees it who is no part of it: from guest RAM and the unit's registers alone.
//
// He looks before the jump, twice while the old kernel waits inside the blackout, once while the new one waits right
// after adoption, and when all is done. What he wants to see:
//
//   - the tables lead where they led before, leaf by leaf, and are well formed by the naive walkers;
//   - every page that a device may reach, and every page of tables on the way to it, is in the memory that the old
//     kernel handed over, as an independent reader of its map finds it;
//   - between the two looks inside the blackout nothing changed but pages that a device may write and what the waiting
//     kernel itself stands on: its boot page, and its image, stack and page tables included;
//   - from the first of them to the look after adoption, over the branch itself and all that the new kernel does until
//     its devices are safe, nothing changed but what a device may write, scratch, the boot page and log pages: every
//     page of tables and records that was handed over is what it was, byte for byte.
//
// Pure functions of what was read; machine.hpp stops the machine around each look.
#pragma once

#include "metal/boot_page.hpp"
#include "tests/metal/device_tables.hpp"
#include "tests/metal/guest_memory.hpp"

namespace metal_test {

struct Look {
  metal::BootPage boot;
  u64 root_register = 0;
  u64 fault_status = 0;  // FSTS_REG
  UnitTables tables;
};

/// Pages by number.
class PageSet {
 public:
  explicit PageSet(u64 size_bytes) : x_pages(size_bytes / page_size_bytes) {}
  /// Pages beyond the end are ignored: nobody can be there.
  void add(PhysRange range);
  [[nodiscard]] bool contains(PhysRange range) const;
  [[nodiscard]] u64 count() const;

 private:
  std::vector<bool> x_pages;
};

/// The boot page as it is now. @throws RunError when there is none.
[[nodiscard]] metal::BootPage read_boot_page(const GuestMemory& memory);

/// Each returns what is wrong, in sentences; nothing when all is well.
using Complaints = std::vector<std::string>;
/// Whether somebody may have put other tables, of the same pages, in place in between.
enum class Tables : u8 { Stay, MayBeReplaced };
[[nodiscard]] Complaints compare_tables(const Look& before, const Look& after, Tables tables);
/// @p held: taken while the old kernel waited. Needs the memory as it was then.
[[nodiscard]] Complaints check_handed_over(const GuestMemory& memory, const Look& held);
/// @p first_image: where the loader of the machine put the first kernel; the others run in the place for images.
[[nodiscard]] Complaints check_changes(const GuestMemory& memory, const Look& held, const PhysRange& first_image,
                                       const std::vector<PhysAddr>& changed);
/// @p changed: from the look @p held to the wait of the new kernel after adoption. Needs the map of what was handed
/// over, which both leave as it is.
[[nodiscard]] Complaints check_changes_over_jump(const GuestMemory& memory, const Look& held,
                                                 const std::vector<PhysAddr>& changed);
/// A device may write these.
[[nodiscard]] PageSet writable_pages(const GuestMemory& memory, const UnitTables& tables);

}  // namespace metal_test
