// Device: one requester behind a unit, a group of its own, with at most one owner and one domain.
//
// Contract: made by Core::register_device(), lives until Core::unregister_device(). Readers here may be called by the
// owner at any time between two calls of the Core; every change goes through the Core.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "holdfast/base/list.hpp"
#include "holdfast/base/types.hpp"

namespace holdfast::iommu {

class Core;
class Domain;
class Unit;

/// Whether the device's requests can be told from those of all others, all the way up.
enum class Isolation : u8 {
  Singleton,
  Shared,  // aliases, or no isolation on the path: may be attached to nothing, preserved by nobody
};

/// Who a device is, read from configuration space.
struct DeviceIdentity {
  u16 segment = 0;
  SourceId id;
  u16 vendor = 0;
  u16 device = 0;
  u32 class_revision = 0;  // configuration space offset 8
  Isolation isolation = Isolation::Singleton;

  constexpr bool operator==(const DeviceIdentity&) const = default;
};

class Device {
 public:
  enum class State : u8 {
    Normal,
    Incoming,     // translates through the domain that the previous kernel left
    Quarantined,  // blocked, and refused until dropped: its state could not be trusted
  };

  explicit Device(const DeviceIdentity& identity, Unit& unit) : x_identity(identity), x_unit(&unit) {}
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  [[nodiscard]] const DeviceIdentity& identity() const { return x_identity; }
  [[nodiscard]] SourceId id() const { return x_identity.id; }
  [[nodiscard]] Unit& unit() const { return *x_unit; }
  /// What its DMA goes through; nullptr: it is blocked.
  [[nodiscard]] Domain* domain() const { return x_domain; }
  [[nodiscard]] State state() const { return x_state; }
  /// Why it is quarantined; empty otherwise.
  [[nodiscard]] std::string_view reason() const { return x_reason; }
  [[nodiscard]] const void* owner() const { return x_owner; }
  /// The token under which the previous kernel's owner is known. Nobody else may claim the device while this is set.
  [[nodiscard]] std::optional<u64> restored_token() const { return x_restored_token; }
  /// Recorded for the next kernel: attach, detach and replace answer Busy.
  [[nodiscard]] bool is_preserved() const { return x_record.value != 0; }
  /// Where that record is; 0 when there is none.
  [[nodiscard]] PhysAddr record() const { return x_record; }

 private:
  friend class Core;
  friend class Domain;

  DeviceIdentity x_identity;
  Unit* x_unit;
  Domain* x_domain = nullptr;
  const void* x_owner = nullptr;
  std::optional<u64> x_restored_token;
  State x_state = State::Normal;
  std::string_view x_reason;
  PhysAddr x_record;  // outgoing iommu::Device record, 0 when not preserved
  PhysAddr x_attest;
  std::array<u64, 8> x_tables_before{};  // the unit's context tables preserved before and after this device was
  std::array<u64, 8> x_tables_after{};
  ListHook x_core_link;
  ListHook x_domain_link;
};

}  // namespace holdfast::iommu
