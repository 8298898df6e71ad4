// Two endless audio streams: the captured one overwrites its buffer again and again, the played one is read.
//
// Every word of the capture buffer is marked after it was read, so that a period which the device did not write again
// in the next round is seen: `stale` words. A mapping that leads elsewhere, or nowhere, shows within one round (683
// ms). Who did not look for a third of a round, as after every jump, cannot know how many rounds he missed and where
// the device is by the time a mark is written: the buffer is then marked anew, ahead of the device, and checked from
// there.
#pragma once

#include "vmm/hda_driver.hpp"
#include "vmm/workload.hpp"

namespace vmm {

class HdaWorkload final : public Workload {
 public:
  [[nodiscard]] const WorkloadPlan& plan() const override;
  void assign(const Resources& resources, const WorkloadOptions& options) override;
  bool start() override;
  /// Bytes captured, when that was less than one round.
  bool count_landed(Landed& landed) override;
  bool poll() override;
  [[nodiscard]] u64 done() const override { return x_state.checked_periods; }
  [[nodiscard]] u64 goal() const override { return x_goal; }
  /// The streams never pause; but a page table was not tried before a whole round went through it.
  void hold() override { x_held = true; }
  void resume() override { x_held = false; }
  [[nodiscard]] bool quiet() const override { return x_held && since_replace() >= Hda::periods; }
  void replaced() override { x_state.checked_at_replace = x_state.checked_periods; }
  bool stop() override { return driver().stop(x_state.first_output); }
  void describe(Line& line) const override;
  [[nodiscard]] bool sound() const override { return x_state.stale == 0; }
  [[nodiscard]] std::span<std::byte> state() override { return std::as_writable_bytes(std::span(&x_state, 1)); }
  [[nodiscard]] bool valid_state() const override;

 private:
  struct State {
    u32 first_output = 0;
    Hda::Positions last;
    u32 reserved = 0;
    u64 captured = 0;     // bytes
    u64 played = 0;       // bytes
    u64 next_period = 0;  // to be checked, counted like `captured`
    u64 checked_periods = 0;
    u64 checked_at_replace = 0;
    u64 stale = 0;  // words that a whole round did not overwrite
  };

  [[nodiscard]] Hda driver() const;
  [[nodiscard]] u64 since_replace() const { return x_state.checked_periods - x_state.checked_at_replace; }
  bool mark_ahead();
  bool check_period(u64 period);
  bool mark_period(u64 period);

  Resources x_resources;
  u64 x_goal = 0;
  State x_state;
  u64 x_looked_at_ns = 0;
  bool x_looked = false;  // in this generation
  bool x_held = false;
};

}  // namespace vmm
