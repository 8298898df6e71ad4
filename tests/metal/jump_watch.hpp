// Somebody who looks at a running machine from outside at each of its jumps, and says what he thinks of it.
#pragma once

#include <set>

#include "tests/metal/machine.hpp"
#include "tests/metal/outcome.hpp"

namespace metal_test {

class JumpWatch {
 public:
  /// Both must outlive the watch.
  JumpWatch(Machine& machine, Outcome& outcome) : x_machine(machine), x_outcome(outcome) {}

  /// Looks before jump @p jump (from 1), twice inside its blackout and once after adoption (kernels must hold there,
  /// metal.hold_us, and are let go), and when the update is done. To be called while the kernel before the jump serves
  /// its devices. False: the machine ended, or a hold was missed, which is a failed check.
  bool watch(u64 jump);

  /// Looks at the fault register once more.
  void look_at_faults(const char* when) { (void)look_in_passing(when); }

  /// Devices that nobody preserves: they fault, have no tables from the cut-off on, and write nothing from then until
  /// the new kernel has adopted what was preserved.
  void set_unpreserved(std::set<u16> sources) { x_unpreserved = std::move(sources); }

  /// The devices stand still over the jump, as a disk does that QEMU let finish: nothing is walked for.
  void set_idle() { x_idle = true; }

  /// As it was inside the last blackout.
  [[nodiscard]] const std::optional<Look>& held() const { return x_held; }
  /// Pages that devices wrote between the two looks inside blackouts.
  [[nodiscard]] u64 pages_written() const { return x_pages_written; }

 private:
  struct Held {
    Look look;
    PageDigests pages;
  };

  std::optional<Look> look_in_passing(const char* when);
  bool look_inside(u64 jump, const Look& before, Held& held);
  bool look_after_adoption(u64 jump, const Held& held);
  void check_walks(u64 jump);
  void check_targets(u64 jump, const std::vector<PhysAddr>& changed);
  void part_with_unpreserved(Look& before);
  void check_fault_status(const std::string& what, const Look& look);

  Machine& x_machine;
  Outcome& x_outcome;
  std::set<u16> x_unpreserved;
  bool x_idle = false;
  std::vector<PhysAddr> x_targets;  // that they could write before the cut-off
  std::optional<Look> x_held;
  u64 x_pages_written = 0;
};

}  // namespace metal_test
