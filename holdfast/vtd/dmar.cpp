#include "holdfast/vtd/dmar.hpp"

#include <cstring>
#include <new>
#include <optional>

#include "holdfast/vtd/early_array.hpp"

namespace holdfast::vtd {

namespace acpi = hw::acpi;

namespace {

using Bytes = std::span<const std::byte>;

/// A copy of the packed structure at the start of @p bytes; nothing when it does not fit.
template <class T>
std::optional<T> take(Bytes bytes) {
  if (bytes.size() < sizeof(T)) return std::nullopt;
  T value{};
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

/// The first structure of a list whose elements say their own length; moves @p rest past it. Shorter than @p least, or
/// longer than what contains it, is Corrupt: a length of 0 must not be met again and again.
Result<Bytes> next_structure(Bytes& rest, u64 length, u64 least) {
  if (length < least || length > rest.size()) return Code::Corrupt;
  const Bytes structure = rest.first(length);
  rest = rest.subspan(length);
  return structure;
}

Result<Bytes> next_remapping(Bytes& rest) {
  const auto header = take<acpi::RemappingHeader>(rest);
  if (!header) return Code::Corrupt;
  return next_structure(rest, header->length, sizeof(acpi::RemappingHeader));
}

Result<Bytes> next_scope(Bytes& rest) {
  constexpr u64 least = sizeof(acpi::DeviceScope) + sizeof(acpi::ScopePath);
  const auto header = take<acpi::DeviceScope>(rest);
  if (!header) return Code::Corrupt;
  TRY_ASSIGN(const Bytes scope, next_structure(rest, header->length, least));
  if ((scope.size() - sizeof(acpi::DeviceScope)) % sizeof(acpi::ScopePath) != 0) return Code::Corrupt;
  return scope;
}

bool is_drhd(Bytes structure) {
  const auto header = take<acpi::RemappingHeader>(structure);
  return header && header->type == static_cast<u16>(acpi::RemappingType::Drhd);
}

/// Follows the path of @p bytes from bus to bus. Errors: NoDevice when a bridge on it does not exist.
Result<Scope> resolve(Bytes bytes, u16 segment, BridgeReader& bridges) {
  const auto header = take<acpi::DeviceScope>(bytes);
  if (!header) return Code::Corrupt;
  Bytes path = bytes.subspan(sizeof(acpi::DeviceScope));
  u8 bus = header->start_bus;
  SourceId device;
  for (;;) {
    const auto step = take<acpi::ScopePath>(path);
    if (!step || step->device > 0x1f || step->function > 7) return Code::Corrupt;
    device = SourceId(bus, step->device, step->function);
    path = path.subspan(sizeof(acpi::ScopePath));
    if (path.empty()) break;
    TRY_ASSIGN(const BusRange below, bridges.buses_below(segment, device));
    // A bridge that was never given bus numbers reads 0; what is below it has no address yet.
    if (below.secondary <= bus) return Code::NoDevice;
    bus = below.secondary;
  }
  Scope scope{.type = static_cast<acpi::ScopeType>(header->type),
              .enumeration_id = header->enumeration_id,
              .has_buses = false,
              .device = device,
              .buses = {}};
  if (scope.type != acpi::ScopeType::SubHierarchy) return scope;
  TRY_ASSIGN(scope.buses, bridges.buses_below(segment, device));
  scope.has_buses = scope.buses.secondary > bus && scope.buses.subordinate >= scope.buses.secondary;
  return scope;
}

Result<u64> count_scopes(Bytes scopes) {
  u64 count = 0;
  while (!scopes.empty()) {
    TRY_ASSIGN([[maybe_unused]] const Bytes scope, next_scope(scopes));
    ++count;
  }
  return count;
}

Result<DmarUnit> read_unit(Bytes structure, BridgeReader& bridges, const DirectMap& map, EarlyAllocator& early) {
  const auto drhd = take<acpi::Drhd>(structure);
  if (!drhd) return Code::Corrupt;
  DmarUnit unit{.register_base = PhysAddr(drhd->register_base),
                .register_bytes = page_size_bytes << (drhd->size & 0xf),
                .segment = drhd->segment,
                .includes_all = (drhd->flags & acpi::drhd_include_pci_all) != 0,
                .scopes = {}};
  if (unit.register_base.value == 0 || !unit.register_base.is_aligned(page_size_bytes)) return Code::Corrupt;
  if (!checked_last(unit.register_base.value, unit.register_bytes)) return Code::Corrupt;

  Bytes rest = structure.subspan(sizeof(acpi::Drhd));
  TRY_ASSIGN(const u64 listed, count_scopes(rest));
  TRY_ASSIGN(const std::span<Scope> scopes, early_array<Scope>(map, early, listed));
  u64 resolved = 0;
  while (!rest.empty()) {
    TRY_ASSIGN(const Bytes bytes, next_scope(rest));
    const auto scope = resolve(bytes, unit.segment, bridges);
    if (scope.ok())
      scopes[resolved++] = *scope;
    else if (scope.code() == Code::Corrupt)
      return scope.error();
  }
  unit.scopes = scopes.first(resolved);
  return unit;
}

bool collide(const DmarUnit& a, const DmarUnit& b) {
  if (a.includes_all && b.includes_all && a.segment == b.segment) return true;
  return PhysRange{a.register_base, a.register_bytes}.overlaps({b.register_base, b.register_bytes});
}

}  // namespace

bool Scope::covers(SourceId id) const {
  if (type == acpi::ScopeType::Namespace) return false;
  if (id == device) return true;
  return has_buses && id.bus() >= buses.secondary && id.bus() <= buses.subordinate;
}

bool DmarUnit::lists(SourceId device) const {
  for (const Scope& scope : scopes)
    if (scope.covers(device)) return true;
  return false;
}

Result<const Dmar*> Dmar::open(std::span<const std::byte> table, BridgeReader& bridges, const DirectMap& map,
                               EarlyAllocator& early) {
  const auto header = take<acpi::Dmar>(table);
  if (!header || header->header.signature != acpi::dmar_signature) return Code::Corrupt;
  if (header->header.length < sizeof(acpi::Dmar) || header->header.length > table.size()) return Code::Corrupt;
  table = table.first(header->header.length);
  if (acpi::byte_sum(table) != 0) return Code::Corrupt;

  const Bytes structures = table.subspan(sizeof(acpi::Dmar));
  u64 count = 0;
  for (Bytes rest = structures; !rest.empty();) {
    TRY_ASSIGN(const Bytes structure, next_remapping(rest));
    if (is_drhd(structure)) ++count;
  }

  TRY_ASSIGN(const PhysAddr storage, early.allocate(sizeof(Dmar), alignof(Dmar)));
  TRY_ASSIGN(const std::span<DmarUnit> units, early_array<DmarUnit>(map, early, count));
  u64 filled = 0;
  for (Bytes rest = structures; !rest.empty();) {
    TRY_ASSIGN(const Bytes structure, next_remapping(rest));
    if (!is_drhd(structure)) continue;
    TRY_ASSIGN(units[filled], read_unit(structure, bridges, map, early));
    for (const DmarUnit& earlier : units.first(filled))
      if (collide(earlier, units[filled])) return Code::Corrupt;
    ++filled;
  }
  Dmar* dmar = new (static_cast<void*>(map.bytes(storage))) Dmar;
  dmar->x_units = units;
  dmar->x_host_address_bits = static_cast<u8>(header->host_address_width + 1);
  return static_cast<const Dmar*>(dmar);
}

const DmarUnit* Dmar::find_unit(u16 segment, SourceId device) const {
  const DmarUnit* includes_all = nullptr;
  for (const DmarUnit& unit : x_units) {
    if (unit.segment != segment) continue;
    if (unit.lists(device)) return &unit;
    if (unit.includes_all) includes_all = &unit;
  }
  return includes_all;
}

}  // namespace holdfast::vtd
