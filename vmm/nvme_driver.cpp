#include "vmm/nvme_driver.hpp"

#include <array>

namespace vmm {

namespace nvme = hw::nvme;

bool Nvme::start(NvmeQueues& queues) {
  queues = {};
  if (!x_device.enable() || !enable_controller() || !identify(queues)) return false;
  const u32 size_and_id = u32{entries - 1} << 16 | io_queue;
  const nvme::Submission completion{.opcode = nvme::admin_create_completion_queue,
                                    .prp1 = x_queues_iova + completion_offset,
                                    .cdw10 = size_and_id,
                                    .cdw11 = nvme::queue_is_contiguous};
  const nvme::Submission submission{.opcode = nvme::admin_create_submission_queue,
                                    .prp1 = x_queues_iova + submission_offset,
                                    .cdw10 = size_and_id,
                                    .cdw11 = u32{io_queue} << 16 | nvme::queue_is_contiguous};
  return admin(1, completion) && admin(2, submission);
}

bool Nvme::enable_controller() {
  if (!x_device.write_register(nvme::cc_offset, nvme::Cc().raw()) || !wait_ready(0)) return false;
  const auto sizes = nvme::Aqa().with<nvme::aqa::Asqs>(entries - 1).with<nvme::aqa::Acqs>(entries - 1);
  if (!x_device.write_register(nvme::aqa_offset, sizes.raw())) return false;
  if (!x_device.write_register(nvme::asq_offset, x_queues_iova + admin_submission_offset)) return false;
  if (!x_device.write_register(nvme::acq_offset, x_queues_iova + admin_completion_offset)) return false;
  const auto on = nvme::Cc().with<nvme::cc::En>(1).with<nvme::cc::Iosqes>(6).with<nvme::cc::Iocqes>(4);
  return x_device.write_register(nvme::cc_offset, on.raw()) && wait_ready(1);
}

/// As long as the controller says that it may take.
bool Nvme::wait_ready(u64 ready) {
  if (!read_capabilities()) return false;
  const u64 patience_ns = (x_capabilities.get<nvme::cap::To>() + 1) * 500'000'000;
  return x_device.wait(patience_ns, "wait for the NVMe controller", [&] {
    u32 raw = 0;
    return x_device.read_register(nvme::csts_offset, raw) && nvme::Csts(raw).get<nvme::csts::Rdy>() == ready;
  });
}

/// One admin command at a time; @p turn counts them, from 0: fewer than the queue has entries.
bool Nvme::admin(u32 turn, nvme::Submission command) {
  constexpr u64 patience_ns = 5'000'000'000;
  command.command_id = static_cast<u16>(turn);
  if (!x_queues.write(admin_submission_offset + turn * sizeof command, command)) return false;
  if (!write_doorbell(0, nvme::Doorbell::SubmissionTail, turn + 1)) return false;
  nvme::Completion answer;
  const bool came = x_device.wait(patience_ns, "wait for an NVMe admin command", [&] {
    return x_queues.read(admin_completion_offset + turn * sizeof answer, answer) && nvme::phase_of(answer) == 1;
  });
  if (!came || !x_queues.read(admin_completion_offset + turn * sizeof answer, answer)) return false;  // whole by now
  if (!write_doorbell(0, nvme::Doorbell::CompletionHead, turn + 1)) return false;
  return x_device.calls().check(nvme::status_of(answer) == 0 ? 0 : -to_errno(Code::Io), "NVMe admin command");
}

bool Nvme::identify(NvmeQueues& queues) {
  const nvme::Submission command{
      .opcode = nvme::admin_identify, .namespace_id = 1, .prp1 = x_queues_iova + identify_offset};
  u8 flbas = 0;
  u32 format = 0;
  if (!admin(0, command)) return false;
  if (!x_queues.read(identify_offset + nvme::identify_nsze_offset, queues.blocks)) return false;
  if (!x_queues.read(identify_offset + nvme::identify_flbas_offset, flbas)) return false;
  const u64 at = nvme::identify_lbaf_offset + (flbas & nvme::identify_flbas_format) * sizeof format;
  if (!x_queues.read(identify_offset + at, format)) return false;
  queues.block_lg2 = format >> nvme::identify_lbads_shift & nvme::identify_lbads_mask;
  return x_device.calls().check(valid(queues) ? 0 : -to_errno(Code::NotSupported),
                                "size of the NVMe namespace's blocks");
}

bool Nvme::stop() { return x_device.write_register(nvme::cc_offset, nvme::Cc().raw()) && wait_ready(0); }

bool Nvme::submit(NvmeQueues& queues, Direction direction, u16 command_id, u64 block, u64 iova) {
  const u32 blocks = u32{1} << (page_lg2 - queues.block_lg2);
  const nvme::Submission command{.opcode = direction == Direction::Read ? nvme::nvm_read : nvme::nvm_write,
                                 .command_id = command_id,
                                 .namespace_id = 1,
                                 .prp1 = iova,
                                 .cdw10 = static_cast<u32>(block),
                                 .cdw11 = static_cast<u32>(block >> 32),
                                 .cdw12 = blocks - 1};
  if (!x_queues.write(submission_offset + queues.submission_tail * sizeof command, command)) return false;
  queues.submission_tail = Queue::advance(queues.submission_tail);
  return true;
}

bool Nvme::count_completed(NvmeQueues queues, u32& count) {
  for (count = 0; count < entries; ++count) {
    nvme::Completion entry;
    bool found = false;
    if (!peek(queues, entry, found)) return false;
    if (!found) return true;
    queues.completion_head = Queue::advance(queues.completion_head);
    if (queues.completion_head == 0) queues.phase ^= 1;
  }
  return true;
}

/// A pread is no single load: only what is read after the phase was seen is whole.
bool Nvme::peek(const NvmeQueues& queues, nvme::Completion& entry, bool& found) {
  const u64 at = completion_offset + queues.completion_head * sizeof entry;
  if (!x_queues.read(at, entry)) return false;
  found = nvme::phase_of(entry) == queues.phase;
  return !found || x_queues.read(at, entry);
}

bool Nvme::read_capabilities() {
  u64 raw = x_capabilities.raw();
  if (raw == 0 && !x_device.read_register(nvme::cap_offset, raw)) return false;
  x_capabilities = nvme::Cap(raw);
  return true;
}

bool Nvme::write_doorbell(u16 queue, nvme::Doorbell which, u32 value) {
  return read_capabilities() && x_device.write_register(nvme::doorbell_offset(x_capabilities, queue, which), value);
}

}  // namespace vmm
