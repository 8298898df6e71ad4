#include "vmm/hda_workload.hpp"

#include <array>

#include "vmm/ring.hpp"

namespace vmm {
namespace {

constexpr Hda::Addresses addresses{.control = control_iova(WorkloadKind::Hda),
                                   .capture = data_iova(WorkloadKind::Hda),
                                   .playback = data_iova(WorkloadKind::Hda) + 0x4000'0000};

constexpr std::array<PlannedMapping, 3> mappings{{
    {.file = WorkloadFile::Control,
     .access = Access::ReadWrite,
     .offset = 0,
     .length = Hda::control_file_bytes,
     .iova = addresses.control},
    {.file = WorkloadFile::Data,
     .access = Access::Write,
     .offset = 0,
     .length = Hda::buffer_bytes,
     .iova = addresses.capture},
    {.file = WorkloadFile::Data,
     .access = Access::Read,
     .offset = Hda::buffer_bytes,
     .length = Hda::buffer_bytes,
     .iova = addresses.playback},
}};

constexpr WorkloadPlan hda_plan{.kind = WorkloadKind::Hda,
                                .match = {.class_code = hw::hda::class_code},
                                .control_bytes = Hda::control_file_bytes,
                                .data_bytes = u64{2} << 20,
                                .mappings = mappings};

/// No sample that a codec without a microphone captures: those are silence.
constexpr u32 marker = 0x5aa5'c33c;
constexpr u64 piece_words = 128;
using Piece = std::array<u32, piece_words>;
constexpr u64 piece_bytes = sizeof(Piece);
static_assert(Hda::period_bytes % piece_bytes == 0);
/// So many whole rounds belong to each generation at least.
constexpr u64 rounds_per_generation = 1;
/// So long between two looks, and the device may overtake a mark that is being written.
constexpr u64 longest_look_away_ns = Hda::buffer_bytes * 1'000'000'000 / Hda::bytes_per_second / 3;
/// After such a gap: so many periods stay between the device and the first mark.
constexpr u64 distance = Hda::periods / 2;

}  // namespace

const WorkloadPlan& HdaWorkload::plan() const { return hda_plan; }

void HdaWorkload::assign(const Resources& resources, const WorkloadOptions& options) {
  x_resources = resources;
  x_goal = rounds_per_generation * Hda::periods * (u64{options.updates} + 1);
}

Hda HdaWorkload::driver() const { return {x_resources.device, x_resources.control, addresses}; }

bool HdaWorkload::start() {
  for (u64 period = 0; period < Hda::periods; ++period)
    if (!mark_period(period)) return false;
  if (!driver().start(x_state.first_output)) return false;
  x_looked = true;
  x_looked_at_ns = x_resources.device.now_ns();
  return true;
}

bool HdaWorkload::count_landed(Landed& landed) {
  Hda::Positions now;
  if (!driver().read_positions(x_state.first_output, now)) return false;
  landed.count = moved(x_state.last.capture, now.capture % Hda::buffer_bytes, Hda::buffer_bytes);
  return true;
}

bool HdaWorkload::poll() {
  const u64 now_ns = x_resources.device.now_ns();
  const bool saw_all = x_looked && now_ns - x_looked_at_ns <= longest_look_away_ns;
  x_looked = true;
  x_looked_at_ns = now_ns;
  Hda::Positions now;
  if (!driver().read_positions(x_state.first_output, now)) return false;
  now.capture %= Hda::buffer_bytes;
  now.playback %= Hda::buffer_bytes;
  x_state.captured += moved(x_state.last.capture, now.capture, Hda::buffer_bytes);
  x_state.played += moved(x_state.last.playback, now.playback, Hda::buffer_bytes);
  x_state.last = now;
  if (!saw_all) return mark_ahead();
  while ((x_state.next_period + 1) * Hda::period_bytes <= x_state.captured) {
    const u64 period = x_state.next_period % Hda::periods;
    if (!check_period(period) || !mark_period(period)) return false;
    ++x_state.next_period;
    ++x_state.checked_periods;
  }
  return true;
}

bool HdaWorkload::mark_ahead() {
  const u64 current = x_state.captured / Hda::period_bytes;
  x_state.next_period = current + distance;
  for (u64 period = x_state.next_period; period < current + Hda::periods; ++period)
    if (!mark_period(period % Hda::periods)) return false;
  return true;
}

bool HdaWorkload::check_period(u64 period) {
  for (u64 at = 0; at < Hda::period_bytes; at += piece_bytes) {
    Piece piece;
    if (!x_resources.data.read(period * Hda::period_bytes + at, piece)) return false;
    for (const u32 word : piece) x_state.stale += word == marker ? 1 : 0;
  }
  return true;
}

bool HdaWorkload::mark_period(u64 period) {
  Piece piece;
  for (u32& word : piece) word = marker;
  for (u64 at = 0; at < Hda::period_bytes; at += piece_bytes)
    if (!x_resources.data.write(period * Hda::period_bytes + at, piece)) return false;
  return true;
}

void HdaWorkload::describe(Line& line) const {
  line.pair("wraps", x_state.checked_periods / Hda::periods).pair("stale", x_state.stale);
  line.pair("capture", x_state.captured).pair("playback", x_state.played);
  line.pair("wraps_since_replace", since_replace() / Hda::periods);
}

bool HdaWorkload::valid_state() const {
  return Hda::valid(x_state.first_output) && x_state.last.capture < Hda::buffer_bytes &&
         x_state.last.playback < Hda::buffer_bytes && x_state.captured % Hda::buffer_bytes == x_state.last.capture &&
         x_state.next_period <= x_state.captured / Hda::period_bytes + Hda::periods &&
         x_state.checked_periods <= x_state.next_period && x_state.checked_at_replace <= x_state.checked_periods;
}

}  // namespace vmm
