// Copies a pattern into QEMU's edu device and out again, and compares it. Each transfer takes 100 ms, so one that
// begins right before a jump is made during or after it.
#pragma once

#include "vmm/edu_driver.hpp"
#include "vmm/workload.hpp"

namespace vmm {

class EduWorkload final : public Workload {
 public:
  [[nodiscard]] const WorkloadPlan& plan() const override;
  void assign(const Resources& resources, const WorkloadOptions& options) override;
  bool start() override { return driver().start(); }
  bool count_landed(Landed& landed) override;
  bool poll() override;
  [[nodiscard]] u64 done() const override { return x_state.transfers; }
  [[nodiscard]] u64 goal() const override { return x_goal; }
  void hold() override { x_held = true; }
  void resume() override { x_held = false; }
  [[nodiscard]] bool quiet() const override { return x_held && x_state.phase == Phase::InDevice; }
  bool launch() override { return copy_out(); }
  bool stop() override { return true; }
  void describe(Line& line) const override;
  [[nodiscard]] bool sound() const override { return x_state.wrong == 0; }
  [[nodiscard]] std::span<std::byte> state() override { return std::as_writable_bytes(std::span(&x_state, 1)); }
  [[nodiscard]] bool valid_state() const override;

 private:
  enum class Phase : u32 { Idle, CopyingIn, InDevice, CopyingOut };
  struct State {
    Phase phase = Phase::Idle;
    u32 reserved = 0;
    u64 transfers = 0;
    u64 wrong = 0;  // words
  };

  [[nodiscard]] Edu driver() const { return Edu(x_resources.device); }
  [[nodiscard]] u64 round() const { return x_state.transfers / 2; }
  bool copy_in();
  bool copy_out();
  bool check_copy();

  Resources x_resources;
  u64 x_goal = 0;
  u64 x_next_look_ns = 0;
  State x_state;
  bool x_held = false;
};

}  // namespace vmm
