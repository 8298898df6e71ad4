// Test support (hosted; never part of the library): a register-level stand-in for VT-d units, and the blocks a handover
// would hold. It executes commands and queue descriptors and writes down what it was told; it translates nothing (the
// machine model of sim/ does).
#pragma once

#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "holdfast/iommu/unit.hpp"
#include "holdfast/memory/test_world.hpp"
#include "holdfast/vtd/unit_registers.hpp"

namespace holdfast::vtd {

inline constexpr PhysAddr test_base{0xfed90000};

/// CAP: 256 ids, 3 and 4 levels, 48 bits, 2M pages, PSI with MAMV 9, FRO 0x22, 4 fault records, draining.
inline constexpr u64 test_cap = u64{2} | u64{0b00110} << 8 | u64{47} << 16 | u64{0x22} << 24 | u64{1} << 34 |
                                u64{1} << 39 | u64{3} << 40 | u64{9} << 48 | u64{1} << 54 | u64{1} << 55;
inline constexpr u64 cap_rwbf = u64{1} << 4;
inline constexpr u64 cap_plmr = u64{1} << 5;
inline constexpr u64 cap_cm = u64{1} << 7;
/// ECAP: coherent, queue, IOTLB registers at 0xf0; scalable adds SMTS, SSTS, SMPWCS, RPS.
inline constexpr u64 test_ecap_legacy = u64{1} | u64{2} | u64{0xf} << 8;
inline constexpr u64 ecap_rps = u64{1} << 49;
inline constexpr u64 test_ecap = test_ecap_legacy | u64{1} << 43 | u64{1} << 46 | u64{1} << 48 | ecap_rps;

class FakeUnit {
 public:
  struct Write {
    u64 offset;
    u64 value;
    bool operator==(const Write&) const = default;
  };
  enum class Queue : u8 { Answers, Silent };

  FakeUnit(u64 cap, u64 ecap) {
    set<u64>(hw::vtd::cap_offset, cap);
    set<u64>(hw::vtd::ecap_offset, ecap);
  }

  u64 read(u64 offset, Width width) const {
    u64 value = 0;
    std::memcpy(&value, &x_bytes.at(offset), static_cast<std::size_t>(width));
    return value;
  }
  void write(std::byte* ram, u64 offset, Width width, u64 value) {
    writes.push_back({offset, value});
    switch (offset) {
      case hw::vtd::gcmd_offset: return command(ram, static_cast<u32>(value));
      case hw::vtd::fsts_offset: return clear_faults(ram, static_cast<u32>(value));
      case hw::vtd::pmen_offset: return set<u32>(offset, static_cast<u32>(value));
      default: break;
    }
    std::memcpy(&x_bytes.at(offset), &value, static_cast<std::size_t>(width));
    if (offset == hw::vtd::iqt_offset) run_queue(ram);
    // A fault record is cleared by writing 1 to F, in its last dword.
    if (offset >= 0x220 && offset < 0x260 && offset % 16 == 12) set<u32>(offset, 0);
  }

  template <class T>
  void set(u64 offset, T value) {
    std::memcpy(&x_bytes.at(offset), &value, sizeof value);
  }
  template <class T>
  [[nodiscard]] T get(u64 offset) const {
    T value{};
    std::memcpy(&value, &x_bytes.at(offset), sizeof value);
    return value;
  }
  [[nodiscard]] bool translating() const { return (get<u32>(hw::vtd::gsts_offset) >> 31) != 0; }
  [[nodiscard]] u64 writes_to(u64 offset) const {
    u64 count = 0;
    for (const Write& write : writes) count += write.offset == offset ? 1 : 0;
    return count;
  }
  /// Types of the executed descriptors other than waits, and forget them.
  std::vector<u64> take_types() {
    std::vector<u64> types;
    for (const Quad& one : executed)
      if ((one.lo & 0xf) != 5) types.push_back(one.lo & 0xf);
    executed.clear();
    return types;
  }

  Queue queue = Queue::Answers;
  bool holds_writes = false;  // a flush of the write buffer does not end
  u64 refused_type = 0xff;    // a descriptor of this type stops the queue
  std::vector<Write> writes;
  std::vector<Quad> executed;
  u64 roots_set = 0;
  u64 times_disabled = 0;  // translation went off
  u64 buffer_flushes = 0;
  std::function<void(const Quad&)> on_descriptor;

 private:
  void command(std::byte* ram, u32 value) {
    constexpr u32 sticky = 0x96800000;
    const u32 before = get<u32>(hw::vtd::gsts_offset);
    u32 status = (before & ~sticky) | (value & sticky);
    if ((before >> 31) != 0 && (value >> 31) == 0) ++times_disabled;
    if ((value >> 30 & 1) != 0) {
      status |= u32{1} << 30;
      ++roots_set;
    }
    if ((value >> 27 & 1) != 0) {
      ++buffer_flushes;
      status = (status & ~(u32{1} << 27)) | (holds_writes ? u32{1} << 27 : 0);
    }
    const bool starts = (before >> 26 & 1) == 0 && (value >> 26 & 1) != 0;
    set<u32>(hw::vtd::gsts_offset, status);
    if (starts) set<u64>(hw::vtd::iqh_offset, 0);
    if (starts) run_queue(ram);
  }

  void clear_faults(std::byte* ram, u32 value) {
    constexpr u32 clearable = 0xf1;
    set<u32>(hw::vtd::fsts_offset, get<u32>(hw::vtd::fsts_offset) & ~(value & clearable));
    run_queue(ram);
  }

  void run_queue(std::byte* ram) {
    if (queue == Queue::Silent || (get<u32>(hw::vtd::gsts_offset) >> 26 & 1) == 0) return;
    const u64 iqa = get<u64>(hw::vtd::iqa_offset);
    const u64 slot = (iqa >> 11 & 1) != 0 ? 32 : 16;
    const u64 bytes = u64{4096} << (iqa & 7);
    while (get<u64>(hw::vtd::iqh_offset) != get<u64>(hw::vtd::iqt_offset)) {
      if ((get<u32>(hw::vtd::fsts_offset) >> 4 & 1) != 0) return;
      const u64 head = get<u64>(hw::vtd::iqh_offset);
      Quad one;
      std::memcpy(&one, ram + (iqa & ~u64{0xfff}) + head, sizeof one);
      const u64 type = one.lo & 0xf;
      const bool known = type == 1 || type == 2 || type == 5 || ((type == 6 || type == 7) && slot == 32);
      if (!known || type == refused_type) return set<u32>(hw::vtd::fsts_offset, get<u32>(hw::vtd::fsts_offset) | 0x10);
      executed.push_back(one);
      if (on_descriptor) on_descriptor(one);
      const u32 data = static_cast<u32>(one.lo >> 32);
      if (type == 5 && (one.lo >> 5 & 1) != 0) std::memcpy(ram + (one.hi & ~u64{3}), &data, sizeof data);
      set<u64>(hw::vtd::iqh_offset, (head + slot) % bytes);
    }
  }

  alignas(8) std::array<std::byte, 0x1000> x_bytes{};
};

/// A TestWorld with units. Its clock runs only in relax(), a second a turn, so that a bounded wait ends at once.
class HardwareWorld : public TestWorld {
 public:
  explicit HardwareWorld(u64 cap = test_cap, u64 ecap = test_ecap) : TestWorld(u64{64} << 20) {
    units[test_base.value] = std::make_shared<FakeUnit>(cap, ecap);
  }
  HardwareWorld(const HardwareWorld& before, AfterJump jump) : TestWorld(before, jump), units(before.units) {}

  [[nodiscard]] FakeUnit& unit() { return *units.at(test_base.value); }

  u64 mmio_read(PhysAddr address, Width width) override {
    return units.at(address.value & ~u64{0xfff})->read(address.value & 0xfff, width);
  }
  void mmio_write(PhysAddr address, Width width, u64 value) override {
    units.at(address.value & ~u64{0xfff})->write(direct_map(), address.value & 0xfff, width, value);
  }
  u64 now_ns() override { return x_clock; }
  void relax() override { x_clock += 1'000'000'000; }

  std::map<u64, std::shared_ptr<FakeUnit>> units;

 private:
  u64 x_clock = 0;
};

/// What a handover holds, without one.
class FakeHandover final : public BlockSink, public BlockRestorer, public iommu::PreservedSet {
 public:
  Status preserve(Block block) override {
    if (++calls == fail_at) return Code::NoMemory;
    blocks.insert(key(block));
    return {};
  }
  void unpreserve(Block block) override { blocks.erase(key(block)); }
  [[nodiscard]] bool contains(Block block) const override { return blocks.contains(key(block)); }
  Result<Block> restore(PhysAddr start) override {
    for (auto [address, order] : blocks)
      if (address == start.value && restored.insert(address).second) return Block{start, order};
    return Code::NotFound;
  }

  static std::pair<u64, u32> key(Block block) { return {block.start.value, block.order}; }
  std::set<std::pair<u64, u32>> blocks;
  std::set<u64> restored;
  u64 calls = 0;
  u64 fail_at = 0;
};

}  // namespace holdfast::vtd
