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

  /// Devices whose faults are expected: they are not looked for in the unit's registers and trace, nor are they walked
  /// for after a jump.
  void set_unpreserved(std::set<u16> sources) { x_unpreserved = std::move(sources); }

  /// The devices stand still over the jump, as a disk does that QEMU let finish: nothing is walked for.
  void set_idle() { x_idle = true; }

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

  Machine& x_machine;
  Outcome& x_outcome;
  std::set<u16> x_unpreserved;
  bool x_idle = false;
  u64 x_pages_written = 0;
};

}  // namespace metal_test
