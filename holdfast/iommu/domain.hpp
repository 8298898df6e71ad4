// Domain: one address space of devices: a page table, or none (identity), and, on each unit where a device is attached,
// a domain id.
//
// Live, identity or restored. A live domain is made by Core::create_domain() and can be changed. A restored domain is
// what the previous kernel left: devices translate through it, and that is all; it can be read for comparison, passed
// on and freed. An identity domain is made by Core::create_identity_domain(): addresses of devices are physical ones,
// all of memory is theirs, and there is nothing to map, to compare or to hand over.
// Contract: changes go through the Core; destroyed by Core::destroy_domain() when no device is attached any more.
#pragma once

#include <optional>
#include <string_view>

#include "holdfast/base/list.hpp"
#include "holdfast/base/types.hpp"
#include "holdfast/iommu/device.hpp"
#include "holdfast/pt/restored_table.hpp"
#include "holdfast/pt/table.hpp"

namespace holdfast::iommu {

struct DomainOptions {
  u64 page_sizes = 0;             // leaf sizes allowed, 0 = all that the unit can
  std::optional<TableMode> mode;  // CoreOptions::table_mode unless told
};

/// A domain on a unit: the tag of its cached translations there.
struct UnitLink {
  Unit* unit = nullptr;
  DomainId did;
  u32 devices = 0;       // attached there; 0 only while a flush is still owed
  bool is_owed = false;  // its last flush failed: the id may not be given to anyone else yet
  ListHook link;
};

// Tables that a domain may have: devices ask for IOVAs of the lower half alone.
[[nodiscard]] constexpr bool is_domain_format(pt::Format format) {
  return format == pt::Format::VtdSecondStage || format == pt::Format::X86FirstStage;
}
[[nodiscard]] constexpr u8 fewest_levels(pt::Format format) { return format == pt::Format::X86FirstStage ? 4 : 3; }
/// Hardware extends the sign of a first stage: the top bit of its IOVAs is 0.
[[nodiscard]] constexpr u8 widest_iova(pt::Format format, u8 levels) {
  return static_cast<u8>(12 + 9 * levels - (format == pt::Format::X86FirstStage ? 1 : 0));
}

class Domain {
 public:
  enum class Kind : u8 {
    Live,
    Identity,     // no table; never crosses a jump
    Unverified,   // restored; its tables were not looked at yet
    Restored,     // restored and verified
    Quarantined,  // restored, and not to be trusted: its devices are blocked; it can only be freed, by block
  };

  Domain() = default;
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

  [[nodiscard]] Kind kind() const { return x_kind; }
  /// It has a table that can be changed.
  [[nodiscard]] bool is_live() const { return x_kind == Kind::Live; }
  [[nodiscard]] bool is_identity() const { return x_kind == Kind::Identity; }
  /// The previous kernel made it.
  [[nodiscard]] bool is_restored() const { return !is_live() && !is_identity(); }
  /// Of the table; says nothing of an identity domain.
  [[nodiscard]] const pt::TableConfig& config() const { return x_config; }
  /// 0 without a table.
  [[nodiscard]] PhysAddr top() const { return x_top; }
  /// Devices attached now.
  [[nodiscard]] u32 attachments() const { return x_attachments; }
  /// Recorded for the next kernel: map, unmap and attach answer Busy.
  [[nodiscard]] bool is_preserved() const { return x_record.value != 0; }
  /// Outgoing record of a preserved domain.
  [[nodiscard]] PhysAddr record() const { return x_record; }
  /// The previous kernel's record of a restored domain; 0 for any other.
  [[nodiscard]] PhysAddr restored_record() const { return x_restored_record; }
  /// Why it is quarantined; empty otherwise.
  [[nodiscard]] std::string_view reason() const { return x_reason; }

 private:
  friend class Core;

  Kind x_kind = Kind::Live;
  pt::TableConfig x_config{};
  PhysAddr x_top;
  pt::Table* x_table = nullptr;             // Live
  pt::Gather x_gather;                      // of x_table; not empty between calls only while a flush is owed
  pt::RestoredTable* x_restored = nullptr;  // restored kinds, from Core::verify() on; nullptr if the block list is bad
  std::string_view x_reason;
  u32 x_attachments = 0;
  u32 x_preserved_devices = 0;
  PhysAddr x_restored_record;
  PhysAddr x_record;
  PhysAddr x_attest;
  PhysAddr x_block_list;
  List<UnitLink, &UnitLink::link> x_links;
  List<Device, &Device::x_domain_link> x_devices;
  ListHook x_core_link;
};

}  // namespace holdfast::iommu
