// Receives numbered frames (vmm/frame.hpp) on an e1000e, checks every one and answers every 256th.
#pragma once

#include "vmm/e1000e_driver.hpp"
#include "vmm/sequence.hpp"
#include "vmm/workload.hpp"

namespace vmm {

class NetWorkload final : public Workload {
 public:
  [[nodiscard]] const WorkloadPlan& plan() const override;
  void assign(const Resources& resources, const WorkloadOptions& options) override;
  bool start() override;
  bool count_landed(Landed& landed) override;
  bool poll() override;
  [[nodiscard]] u64 done() const override { return x_state.frames.next; }
  [[nodiscard]] u64 goal() const override { return x_goal; }
  /// Frames come on regardless.
  [[nodiscard]] bool quiet() const override { return x_idle; }
  bool stop() override;
  void describe(Line& line) const override;
  [[nodiscard]] bool sound() const override;
  [[nodiscard]] std::span<std::byte> state() override { return std::as_writable_bytes(std::span(&x_state, 1)); }
  [[nodiscard]] bool valid_state() const override;

  static constexpr u64 answer_every = 256;

 private:
  struct State {
    E1000eRings rings;
    Sequence frames;
    u64 foreign = 0;  // frames of others
    u64 sent = 0;
    u64 unsent = 0;  // answers for which there was no room
  };

  [[nodiscard]] E1000e nic() const;
  bool take(E1000e& nic, const hw::e1000e::ReceiveDescriptor& descriptor, u32 index);
  bool answer(E1000e& nic);

  Resources x_resources;
  u64 x_goal = 0;
  State x_state;
  E1000eStatistics x_statistics;
  bool x_idle = true;
};

}  // namespace vmm
