// Fuzzes the parser of the DMAR: any bytes are a table of at least one unit's description, or Corrupt.
//
// The first byte says how much of the rest is made right, so that it comes past the first checks: nothing, the header
// (signature, length), or the header and the checksum. The second seeds the answers of the bridges. What is accepted is
// held against a scan of the same bytes that shares nothing with the parser.
// COVERS holdfast/vtd/dmar.cpp
#include <cstring>
#include <vector>

#include "holdfast/memory/own_ram.hpp"
#include "holdfast/vtd/dmar.hpp"

namespace holdfast::vtd {
namespace {

constexpr u64 header_bytes = 48;
constexpr u64 ram_bytes = u64{1} << 20;

enum class Repair : u8 { Nothing, Header, Checksum };

/// Bridges whose bus numbers are a function of the input, some of them absent, some of them nonsense.
class InputBridges final : public BridgeReader {
 public:
  explicit InputBridges(u8 seed) : x_seed(seed) {}
  Result<BusRange> buses_below(u16 segment, SourceId bridge) override {
    const unsigned mixed = (x_seed + 1u) * 0x9e37u ^ bridge.value * 31u ^ segment;
    if (mixed % 5 == 0) return Code::NoDevice;
    const unsigned secondary = mixed % 7 == 0 ? 0 : bridge.bus() + 1u;
    return BusRange{static_cast<u8>(secondary), static_cast<u8>(secondary + mixed % 3)};
  }

 private:
  u8 x_seed;
};

u64 read(std::span<const u8> bytes, u64 at, unsigned count) {
  u64 value = 0;
  for (unsigned i = 0; i < count; ++i) value |= u64{bytes[at + i]} << 8 * i;
  return value;
}

void repair(std::vector<u8>& table, Repair how) {
  if (how == Repair::Nothing || table.size() < header_bytes) return;
  std::memcpy(table.data(), "DMAR", 4);
  for (unsigned i = 0; i < 4; ++i) table[4 + i] = static_cast<u8>(table.size() >> 8 * i);
  if (how != Repair::Checksum) return;
  unsigned sum = 0;
  table[9] = 0;
  for (const u8 byte : table) sum += byte;
  table[9] = static_cast<u8>(-sum);
}

/// DRHDs of an accepted table, counted from its bytes.
u64 count_units(std::span<const u8> table) {
  const std::span<const u8> bytes = table.first(read(table, 4, 4));
  u64 count = 0;
  for (u64 at = header_bytes; at < bytes.size(); at += read(bytes, at + 2, 2))
    if (read(bytes, at, 2) == 0) ++count;
  return count;
}

void check(const Dmar& dmar, std::span<const u8> table) {
  verify_invariant(dmar.units().size() == count_units(table), "a unit is missing, or there is one too many");
  verify_invariant(dmar.host_address_bits() == static_cast<u8>(table[36] + 1), "width");
  for (const DmarUnit& unit : dmar.units()) {
    verify_invariant(unit.register_base.value != 0 && unit.register_base.is_aligned(page_size_bytes), "register base");
    for (const Scope& scope : unit.scopes) {
      const DmarUnit* found = dmar.find_unit(unit.segment, scope.device);
      if (scope.covers(scope.device))
        verify_invariant(found != nullptr && found->lists(scope.device), "the device of a scope has no unit");
    }
  }
  for (unsigned id = 0; id < 0x10000; id += 0x61) {
    const DmarUnit* unit = dmar.find_unit(0, SourceId(static_cast<u16>(id)));
    if (unit == nullptr) continue;
    verify_invariant(unit->segment == 0, "a unit of another segment");
    verify_invariant(unit->includes_all || unit->lists(SourceId(static_cast<u16>(id))), "a unit not in charge");
  }
}

}  // namespace
}  // namespace holdfast::vtd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace holdfast;
  if (size < 2) return 0;
  std::vector<u8> table(data + 2, data + size);
  vtd::repair(table, static_cast<vtd::Repair>(data[0] % 3));

  alignas(page_size_bytes) static std::byte bytes[vtd::ram_bytes];
  OwnRam ram(bytes, PhysAddr(0));
  vtd::InputBridges bridges(data[1]);
  EarlyAllocator early(ram.memory().map, {PhysAddr(0), (data[1] & 1) != 0 ? vtd::ram_bytes : page_size_bytes});
  const auto dmar = vtd::Dmar::open(std::as_bytes(std::span(table)), bridges, ram.memory().map, early);
  if (dmar.ok())
    vtd::check(**dmar, table);
  else
    verify_invariant(dmar.code() == Code::Corrupt || dmar.code() == Code::NoMemory, "an answer out of contract");
  return 0;
}
