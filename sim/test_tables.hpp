// Test support: a machine whose tables and queue a test writes by hand, entry by entry, without any driver.
#pragma once

#include "holdfast/hw/pci/config.hpp"
#include "sim/control.hpp"
#include "sim/model_world.hpp"

namespace sim {

enum class Mode : u8 { Legacy, Scalable };

class HandMadeMachine {
 public:
  explicit HandMadeMachine(MachineConfig config = one_device()) : model(std::move(config)) {}

  static MachineConfig one_device() {
    MachineConfig config;
    config.ram_bytes = u64{32} << 20;
    config.devices = {{.bus = 0, .device = 3}};
    return config;
  }
  static constexpr SourceId sid{0, 3, 0};

  Machine& machine() { return model.machine(); }
  VtdUnit& unit() { return machine().unit(0); }

  PhysAddr new_page() {
    x_next_page += page_size_bytes;
    return x_next_page;
  }
  u64 word(PhysAddr at) { return *reinterpret_cast<u64*>(machine().ram().at(at, 8)); }
  void store(PhysAddr at, u64 value) { *reinterpret_cast<u64*>(machine().ram().at(at, 8)) = value; }

  void reg32(u64 offset, u32 value) { machine().mmio_write(unit_address(0) + offset, Width::Dword, value); }
  void reg64(u64 offset, u64 value) { machine().mmio_write(unit_address(0) + offset, Width::Qword, value); }
  u32 reg32(u64 offset) { return static_cast<u32>(machine().mmio_read(unit_address(0) + offset, Width::Dword)); }
  u64 reg64(u64 offset) { return machine().mmio_read(unit_address(0) + offset, Width::Qword); }

  /// Maps one leaf in a table of 4 levels.
  void map(PhysAddr top, u64 iova, u64 entry, unsigned leaf_level = 1) {
    PhysAddr table = top;
    for (unsigned level = 4; level > leaf_level; --level) {
      const PhysAddr slot = table + walk::entry_index(iova, level) * 8;
      if (word(slot) == 0) store(slot, new_page().value | 3);
      table = PhysAddr(word(slot) & 0x000ffffffffff000u);
    }
    store(table + walk::entry_index(iova, leaf_level) * 8, entry);
  }

  /// Root, context (and PASID) entries that send `id` to `top`; the entries' places stay known for the test to break.
  void attach(Mode mode, PhysAddr top, u16 did, SourceId id = sid) {
    if (root.value == 0) root = new_page();
    const PhysAddr root_entry = root + u64{id.bus()} * 16;
    if (mode == Mode::Legacy) {
      if (word(root_entry) == 0) store(root_entry, new_page().value | 1);
      context = PhysAddr(word(root_entry) & ~u64{0xfff}) + u64{id.devfn()} * 16;
      store(context + 8, u64{did} << 8 | 2);
      store(context, top.value | 1);
      return;
    }
    const PhysAddr half = root_entry + (id.devfn() >= 0x80 ? 8 : 0);
    if (word(half) == 0) store(half, new_page().value | 1);
    context = PhysAddr(word(half) & ~u64{0xfff}) + u64{id.devfn() & 0x7fu} * 32;
    directory = new_page();
    const PhysAddr table = new_page();
    pasid_entry = table + (rid_pasid & 63) * 64;
    store(pasid_entry + 8, did);
    store(pasid_entry, top.value | 2 << 6 | 2 << 2 | 1);
    store(directory + (rid_pasid >> 6) * 8, table.value | 1);
    store(context + 8, rid_pasid);
    store(context, directory.value | 1);
  }

  void enable(Mode mode) {
    reg64(hw::vtd::rtaddr_offset, root.value | (mode == Mode::Scalable ? 0x400 : 0));
    reg32(hw::vtd::gcmd_offset, 0x40000000);
    enable_queue();
    reg32(hw::vtd::gcmd_offset, 0x84000000);
  }
  void enable_queue() {
    queue = new_page();
    reg64(hw::vtd::iqt_offset, 0);
    reg64(hw::vtd::iqa_offset, queue.value);
    reg32(hw::vtd::gcmd_offset, (reg32(hw::vtd::gsts_offset) & hw::vtd::gcmd_sticky_mask) | 0x04000000);
  }
  void submit(u64 lo, u64 hi = 0) {
    store(queue + x_tail, lo);
    store(queue + x_tail + 8, hi);
    x_tail = (x_tail + 16) % page_size_bytes;
    reg64(hw::vtd::iqt_offset, x_tail);
  }
  void start_queue_over() { x_tail = 0; }

  Translation read(u64 iova, SourceId id = sid) { return unit().translate(id, iova, Access::Read); }
  Translation write(u64 iova, SourceId id = sid) { return unit().translate(id, iova, Access::Write); }

  void config16(SourceId id, u64 offset, u16 value) {
    machine().mmio_write(ecam_start + hw::pci::ecam_offset(id) + offset, Width::Word, value);
  }
  u64 config(SourceId id, u64 offset, Width width) {
    return machine().mmio_read(ecam_start + hw::pci::ecam_offset(id) + offset, width);
  }

  ModelMachine model;
  PhysAddr root;
  PhysAddr context;
  PhysAddr directory;
  PhysAddr pasid_entry;
  PhysAddr queue;
  static constexpr u64 rid_pasid = 0x41;

 private:
  PhysAddr x_next_page{0x200000};
  u64 x_tail = 0;
};

inline constexpr u64 invalidate_contexts = 0x11;
inline constexpr u64 invalidate_pasids = 0x37;
inline constexpr u64 invalidate_iotlb = 0x12;
inline constexpr u64 invalidate_iotlb_domain(u16 did) { return u64{did} << 16 | 0x22; }
inline constexpr u64 invalidate_iotlb_pages(u16 did) { return u64{did} << 16 | 0x32; }

/// One device, one page mapped, translation on.
struct Attached : HandMadeMachine {
  static constexpr u64 iova = 0x8040201000u;
  static constexpr PhysAddr target{0x1000000};
  static constexpr u16 did = 0x55;

  explicit Attached(Mode mode, MachineConfig config = one_device()) : HandMadeMachine(std::move(config)) {
    top = new_page();
    map(top, iova, target.value | 3);
    attach(mode, top, did);
    enable(mode);
  }
  [[nodiscard]] FaultReason reason() { return read(iova).reason; }
  PhysAddr top;
};

inline void set_bits(HandMadeMachine& m, PhysAddr at, u64 bits) { m.store(at, m.word(at) | bits); }
inline void clear_bits(HandMadeMachine& m, PhysAddr at, u64 bits) { m.store(at, m.word(at) & ~bits); }

}  // namespace sim
