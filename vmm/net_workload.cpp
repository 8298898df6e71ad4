#include "vmm/net_workload.hpp"

#include <array>

#include "vmm/frame.hpp"

namespace vmm {
namespace {

static_assert(frame_bytes <= E1000e::transmit_buffer_bytes && frame_bytes <= E1000e::buffer_bytes);

constexpr E1000e::Addresses addresses{.rings = control_iova(WorkloadKind::Net),
                                      .receive_buffers = data_iova(WorkloadKind::Net),
                                      .transmit_buffers = data_iova(WorkloadKind::Net) + 0x4000'0000};

/// Rings are read and written by the device, receive buffers only written, transmit buffers only read.
constexpr std::array<PlannedMapping, 3> mappings{{
    {.file = WorkloadFile::Control,
     .access = Access::ReadWrite,
     .offset = 0,
     .length = E1000e::transmit_buffers_offset,
     .iova = addresses.rings},
    {.file = WorkloadFile::Control,
     .access = Access::Read,
     .offset = E1000e::transmit_buffers_offset,
     .length = E1000e::ring_file_bytes - E1000e::transmit_buffers_offset,
     .iova = addresses.transmit_buffers},
    {.file = WorkloadFile::Data,
     .access = Access::Write,
     .offset = 0,
     .length = E1000e::buffer_file_bytes,
     .iova = addresses.receive_buffers},
}};

constexpr WorkloadPlan net_plan{.kind = WorkloadKind::Net,
                                .match = {.vendor = hw::e1000e::vendor_id, .device = hw::e1000e::device_id},
                                .control_bytes = E1000e::ring_file_bytes,
                                .data_bytes = E1000e::buffer_file_bytes,
                                .mappings = mappings};

}  // namespace

const WorkloadPlan& NetWorkload::plan() const { return net_plan; }

void NetWorkload::assign(const Resources& resources, const WorkloadOptions& options) {
  x_resources = resources;
  x_goal = options.frames;
}

E1000e NetWorkload::nic() const { return {x_resources.device, x_resources.control, x_resources.data, addresses}; }

bool NetWorkload::start() { return nic().start(x_state.rings); }

bool NetWorkload::count_landed(Landed& landed) {
  u32 filled = 0;
  if (!nic().count_filled(x_state.rings, filled)) return false;
  landed = {.count = filled, .first = x_state.rings.receive_next};
  return true;
}

bool NetWorkload::poll() {
  constexpr u32 most_per_poll = 1024;  // others want their turn
  E1000e device = nic();
  const auto take_one = [&](const hw::e1000e::ReceiveDescriptor& descriptor, u32 index) {
    return take(device, descriptor, index);
  };
  return device.receive(x_state.rings, most_per_poll, take_one) && device.reclaim(x_state.rings, x_idle);
}

bool NetWorkload::take(E1000e& device, const hw::e1000e::ReceiveDescriptor& descriptor, u32 index) {
  std::array<u8, frame_bytes> bytes;
  if (!device.read_buffer(index, bytes)) return false;
  const bool whole = (descriptor.status & hw::e1000e::receive_end_of_packet) != 0 && descriptor.errors == 0;
  if (whole && !is_frame(FrameKind::Data, bytes)) {
    ++x_state.foreign;
    return true;
  }
  const bool is_right = whole && descriptor.length == frame_bytes;
  const u64 reached = x_state.frames.next;
  x_state.frames.take(is_right ? check_frame(FrameKind::Data, bytes) : std::nullopt);
  return x_state.frames.next / answer_every == reached / answer_every || answer(device);
}

bool NetWorkload::answer(E1000e& device) {
  const Frame frame = make_frame(FrameKind::Answer, x_state.frames.next);
  bool sent = false;
  if (!device.send(x_state.rings, frame, sent)) return false;
  x_state.sent += sent ? 1 : 0;
  x_state.unsent += sent ? 0 : 1;
  return true;
}

bool NetWorkload::stop() { return nic().stop() && nic().read_statistics(x_statistics); }

void NetWorkload::describe(Line& line) const {
  const Sequence& frames = x_state.frames;
  line.pair("received", frames.received).pair("next", frames.next).pair("gaps", frames.gaps);
  line.pair("duplicates", frames.duplicates).pair("wrong", frames.wrong).pair("foreign", x_state.foreign);
  line.pair("tpr", x_statistics.total_received).pair("mpc", x_statistics.missed);
  line.pair("rnbc", x_statistics.without_buffer).pair("sent", x_state.sent).pair("unsent", x_state.unsent);
}

bool NetWorkload::sound() const {
  const u64 taken = x_state.frames.received + x_state.frames.wrong + x_state.foreign;
  return x_state.frames.contiguous() && static_cast<u32>(taken) == x_statistics.total_received &&
         x_statistics.missed == 0 && x_statistics.without_buffer == 0 && x_state.unsent == 0;
}

bool NetWorkload::valid_state() const {
  const E1000eRings& rings = x_state.rings;
  return E1000e::Received::valid(rings.receive_next) && E1000e::Sent::valid(rings.transmit_next) &&
         E1000e::Sent::valid(rings.transmit_done) && x_state.frames.consistent();
}

}  // namespace vmm
