// UnitRegisters: the register page of one unit, and the command protocol of GCMD / GSTS (VT-d 5.0, 11.4.4).
//
// A GCMD write carries the sticky bits as they shall stay and at most one one-shot bit; then GSTS is polled. The sticky
// bits are taken from GSTS when the object is made, so that what an earlier kernel enabled (translation above all)
// stays enabled. There is no way to turn translation off here. Threads: the caller serialises. Failure: every wait is
// bounded by the world's clock and answers TimedOut.
#pragma once

#include "holdfast/base/hw_access.hpp"
#include "holdfast/hw/vtd/descriptors.hpp"
#include "holdfast/hw/vtd/registers.hpp"

namespace holdfast::vtd {

inline constexpr u64 register_timeout_ns = 5'000'000'000;

class UnitRegisters {
 public:
  UnitRegisters(World& world, PhysAddr base);

  template <class Register>
  [[nodiscard]] Register read(u64 offset) const {
    return Register(reg_read<typename Register::Word>(*x_world, x_base + offset));
  }
  template <class Register>
  void write(u64 offset, Register value) {
    reg_write<typename Register::Word>(*x_world, x_base + offset, value.raw());
  }

  [[nodiscard]] PhysAddr base() const { return x_base; }
  [[nodiscard]] hw::vtd::Gsts status() const { return read<hw::vtd::Gsts>(hw::vtd::gsts_offset); }

  Status enable_translation();
  Status enable_queue();
  Status disable_queue();
  /// RTADDR, then SRTP. Translation stays as it is. Global invalidation is the caller's.
  Status set_root_table(hw::vtd::Rtaddr root);
  Status flush_write_buffer();
  /// Protected memory regions off (they block DMA whatever the tables say).
  Status disable_protected_memory();

  /// Polls until @p done() answers true. Errors: TimedOut.
  template <class Done>
  Status wait_until(Done done) const {
    const u64 start = x_world->now_ns();
    while (!done()) {
      if (x_world->now_ns() - start > register_timeout_ns) return Code::TimedOut;
      x_world->relax();
    }
    return {};
  }

 private:
  template <class GstsBit>
  Status command(hw::vtd::Gcmd command, u64 expected);

  World* x_world;
  PhysAddr x_base;
  hw::vtd::Gcmd x_sticky;
};

}  // namespace holdfast::vtd
