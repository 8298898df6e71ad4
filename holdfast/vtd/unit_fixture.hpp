// Test support (hosted): one kernel with one unit in a HardwareWorld, and a second one that comes after a jump.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "holdfast/vtd/test_hardware.hpp"
#include "holdfast/vtd/unit.hpp"

namespace holdfast::vtd {

class NoBridges final : public BridgeReader {
 public:
  Result<BusRange> buses_below(u16, SourceId) override { return Code::NoDevice; }
};

/// A DMAR with one unit at test_base that takes every device.
inline std::vector<u8> one_unit_dmar() {
  std::vector<u8> table{'D', 'M', 'A', 'R', 64, 0, 0, 0, 1, 0};
  table.resize(48);
  table[36] = 47;
  for (unsigned byte : {0u, 0u, 16u, 0u, 1u, 0u, 0u, 0u, 0x00u, 0x00u, 0xd9u, 0xfeu, 0u, 0u, 0u, 0u})
    table.push_back(static_cast<u8>(byte));
  u8 sum = 0;
  for (u8 byte : table) sum = static_cast<u8>(sum + byte);
  table[9] = static_cast<u8>(-sum);
  return table;
}

/// What one kernel has. Its scratch memory is the same in every kernel, as in a real update.
class TestKernel {
 public:
  TestKernel(HardwareWorld& in, const UnitOptions& options, TestOpen open = TestOpen::Now)
      : world(in), host(in, open), table(one_unit_dmar()) {
    auto dmar = Dmar::open(std::as_bytes(std::span(table)), bridges, host.memory.map, host.early);
    if (!dmar.ok()) throw std::runtime_error("DMAR");
    auto made =
        VtdUnit::create(world, host.memory.map, host.memory.touches, host.early, **dmar, (*dmar)->units()[0], options);
    code = made.code();
    if (made.ok()) unit = *made;
  }
  /// Started and with memory.
  static std::unique_ptr<TestKernel> started(HardwareWorld& world, Mode mode, u32 rid_pasid = 0) {
    auto kernel = std::make_unique<TestKernel>(world, UnitOptions{mode, rid_pasid});
    if (!kernel->unit->start_fresh().ok() || !kernel->unit->attach_memory(kernel->host.memory).ok())
      throw std::runtime_error("the unit did not start");
    return kernel;
  }

  iommu::EntrySpec make_spec(u64 top, u8 levels = 4) {
    auto did = unit->allocate_did();
    if (!did.ok()) throw std::runtime_error("no domain id");
    return {PhysAddr(top), levels, *did};
  }
  /// Prepared, and translating through @p spec.
  void attach(SourceId device, const iommu::EntrySpec& spec) {
    ASSERT_TRUE(unit->prepare(device).ok());
    ASSERT_TRUE(unit->install(device, spec).ok());
  }
  [[nodiscard]] u64 word(u64 address) const { return *host.memory.map.at<u64>(PhysAddr(address)); }
  void poke(u64 address, u64 value) { *host.memory.map.at<u64>(PhysAddr(address)) = value; }
  [[nodiscard]] u64 root() { return world.unit().get<u64>(hw::vtd::rtaddr_offset) & ~u64{0xfff}; }
  /// Address of the context entry as hardware finds it; 0 without table.
  [[nodiscard]] u64 context_entry(SourceId device, Mode mode) {
    const bool scalable = mode == Mode::Scalable;
    const u64 half = scalable && device.devfn() >= 128 ? 8 : 0;
    const u64 pointer = word(root() + 16 * u64{device.bus()} + half);
    if ((pointer & 1) == 0) return 0;
    return (pointer & ~u64{0xfff}) + (scalable ? 32 * u64{device.devfn() & 127u} : 16 * u64{device.devfn()});
  }
  /// Address of the entry that names the page table.
  [[nodiscard]] u64 translation_entry(SourceId device, Mode mode) {
    const u64 context = context_entry(device, mode);
    if (mode == Mode::Legacy || context == 0 || (word(context) & 1) == 0) return context;
    const u64 rid_pasid = word(context + 8) & 0xfffff;
    return (word((word(context) & ~u64{0xfff}) + 8 * (rid_pasid >> 6)) & ~u64{0xfff}) + 64 * (rid_pasid & 63);
  }

  HardwareWorld& world;
  TestMemory host;
  NoBridges bridges;
  std::vector<u8> table;
  Code code = Code::Ok;
  VtdUnit* unit = nullptr;
};

inline std::string mode_name(const testing::TestParamInfo<Mode>& info) {
  return info.param == Mode::Legacy ? "Legacy" : "Scalable";
}

/// Calls @p fetched with everything that hardware, which fetches an entry in pieces and each at any moment, may put
/// together of @p live while @p change runs. A completed invalidation leaves no older fetch under way.
inline void watch_fetches(HardwareWorld& world, const std::function<EntryPieces()>& live,
                          const std::function<void(const EntryPieces&)>& fetched, const std::function<void()>& change) {
  std::vector<EntryPieces> pictures{live()};
  world.unit().on_descriptor = [&](const Quad& one) {
    if ((one.lo & 0xf) == 6 || (one.lo & 0xf) == 2) pictures.assign(1, live());
  };
  world.on_step = [&] {
    pictures.push_back(live());
    for (const EntryPieces& a : pictures)
      for (const EntryPieces& b : pictures) fetched({a[0], b[1], a[2], b[3]});
  };
  change();
  world.on_step = nullptr;
  world.unit().on_descriptor = nullptr;
}

}  // namespace holdfast::vtd
