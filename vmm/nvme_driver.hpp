// Driver of an NVM Express controller (holdfast/hw/nvme): the admin queue and one I/O queue pair, polled in RAM.
//
// Where the queues stand is in NvmeQueues, plain data that outlives the driver: another one goes on with it.
#pragma once

#include "holdfast/hw/nvme/registers.hpp"
#include "vmm/device_access.hpp"
#include "vmm/ring.hpp"

namespace vmm {

struct NvmeQueues {
  u32 submission_tail = 0;
  u32 completion_head = 0;
  u32 phase = 1;      // that completions of this round carry
  u32 block_lg2 = 0;  // of the namespace
  u64 blocks = 0;
};

class Nvme {
 public:
  using Queue = Ring<64>;
  static constexpr u32 entries = 64;
  static constexpr u16 io_queue = 1;

  // The file of queues.
  static constexpr u64 admin_submission_offset = 0;
  static constexpr u64 admin_completion_offset = 1 * page_size_bytes;
  static constexpr u64 submission_offset = 2 * page_size_bytes;
  static constexpr u64 completion_offset = 3 * page_size_bytes;
  static constexpr u64 identify_offset = 4 * page_size_bytes;
  static constexpr u64 queue_file_bytes = 5 * page_size_bytes;
  static_assert(entries * sizeof(hw::nvme::Submission) <= page_size_bytes);

  Nvme(DeviceFile device, MemoryFile queues, u64 queues_iova)
      : x_device(device), x_queues(queues), x_queues_iova(queues_iova) {}

  /// Brings the controller up, creates the queue pair and asks how large namespace 1 is.
  bool start(NvmeQueues& queues);
  /// No command is under way any more.
  bool stop();

  /// One page between the disk, from block @p block on, and @p iova. At most entries - 1 are under way.
  enum class Direction : u8 { Read, Write };
  bool submit(NvmeQueues& queues, Direction direction, u16 command_id, u64 block, u64 iova);
  /// Tells the controller of everything submitted since.
  bool ring_doorbell(const NvmeQueues& queues) {
    return write_doorbell(io_queue, hw::nvme::Doorbell::SubmissionTail, queues.submission_tail);
  }
  /// Completions that nobody has taken.
  bool count_completed(NvmeQueues queues, u32& count);
  /// Gives every completion to @p take(completion).
  template <class Take>
  bool complete(NvmeQueues& queues, Take&& take);

  static bool valid(const NvmeQueues& queues) {
    return Queue::valid(queues.submission_tail) && Queue::valid(queues.completion_head) && queues.phase <= 1 &&
           queues.block_lg2 >= 9 && queues.block_lg2 <= page_lg2;
  }

 private:
  bool read_capabilities();
  bool enable_controller();
  bool wait_ready(u64 ready);
  bool admin(u32 turn, hw::nvme::Submission command);
  bool identify(NvmeQueues& queues);
  bool write_doorbell(u16 queue, hw::nvme::Doorbell which, u32 value);
  bool peek(const NvmeQueues& queues, hw::nvme::Completion& entry, bool& found);

  DeviceFile x_device;
  MemoryFile x_queues;
  u64 x_queues_iova;
  hw::nvme::Cap x_capabilities;  // zero until they were read
};

template <class Take>
bool Nvme::complete(NvmeQueues& queues, Take&& take) {
  u32 taken = 0;
  for (;; ++taken) {
    hw::nvme::Completion entry;
    bool found = false;
    if (!peek(queues, entry, found)) return false;
    if (!found) break;
    take(entry);
    queues.completion_head = Queue::advance(queues.completion_head);
    if (queues.completion_head == 0) queues.phase ^= 1;
  }
  return taken == 0 || write_doorbell(io_queue, hw::nvme::Doorbell::CompletionHead, queues.completion_head);
}

}  // namespace vmm
