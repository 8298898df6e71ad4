// Writes and reads a disk through an NVMe controller and compares what comes back (vmm/disk_pattern.hpp).
//
// A batch is 16 writes and 16 reads of what the batch before wrote; the next begins when all are done. Over a jump one
// whole batch is under way, data moving in both directions.
#pragma once

#include "vmm/disk_pattern.hpp"
#include "vmm/nvme_driver.hpp"
#include "vmm/workload.hpp"

namespace vmm {

class NvmeWorkload final : public Workload {
 public:
  [[nodiscard]] const WorkloadPlan& plan() const override;
  void assign(const Resources& resources, const WorkloadOptions& options) override;
  bool start() override;
  bool count_landed(Landed& landed) override;
  bool poll() override;
  [[nodiscard]] u64 done() const override { return x_state.reads + x_state.writes; }
  [[nodiscard]] u64 goal() const override { return x_goal; }
  void hold() override { x_held = true; }
  void resume() override { x_held = false; }
  [[nodiscard]] bool quiet() const override { return x_held && x_state.pending == 0; }
  bool launch() override { return issue_batch(); }
  bool stop() override { return x_driver.stop(); }
  void describe(Line& line) const override;
  [[nodiscard]] bool sound() const override { return x_state.wrong == 0 && x_state.errors == 0; }
  [[nodiscard]] std::span<std::byte> state() override { return std::as_writable_bytes(std::span(&x_state, 1)); }
  [[nodiscard]] bool valid_state() const override;

 private:
  struct State {
    NvmeQueues queues;
    u64 batches = 0;  // issued
    u64 units = 0;    // of the disk that are used
    u64 reads = 0;
    u64 writes = 0;
    u64 wrong = 0;    // words that are not what was written
    u64 errors = 0;   // commands that the controller refused, and completions of none
    u32 pending = 0;  // commands of the last batch that are under way, one bit each
    u32 reserved = 0;
  };
  static constexpr u32 slots = 2 * units_per_batch;  // the first half writes, the second reads
  static_assert(slots < Nvme::entries && slots <= 32);

  bool issue_batch();
  bool issue_slot(u32 slot);
  bool fill_page(u64 offset, u64 batch, u64 unit);
  bool clear_page(u64 offset);
  bool check_page(u64 offset, u64 batch, u64 unit);
  [[nodiscard]] u64 block_of(u64 unit) const { return unit << (page_lg2 - x_state.queues.block_lg2); }

  Resources x_resources;
  Nvme x_driver{{}, {}, 0};
  u64 x_goal = 0;
  State x_state;
  bool x_held = false;
};

}  // namespace vmm
