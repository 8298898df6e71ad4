#include "vmm/edu_workload.hpp"

#include <array>

#include "holdfast/hw/dma_engine/registers.hpp"

namespace vmm {
namespace {

/// Of the device's 4096: it refuses to copy all of them at once.
constexpr u64 copy_words = 256;
using Copy = std::array<u64, copy_words>;
constexpr u64 copy_bytes = sizeof(Copy);

constexpr u64 source_iova = data_iova(WorkloadKind::Edu);
constexpr u64 destination_iova = source_iova + 0x4000'0000;

/// There is nothing to talk over: the control file is one page that is mapped for nobody.
constexpr std::array<PlannedMapping, 2> mappings{{
    {.file = WorkloadFile::Data, .access = Access::Read, .offset = 0, .length = page_size_bytes, .iova = source_iova},
    {.file = WorkloadFile::Data,
     .access = Access::Write,
     .offset = page_size_bytes,
     .length = page_size_bytes,
     .iova = destination_iova},
}};

constexpr WorkloadPlan edu_plan{.kind = WorkloadKind::Edu,
                                .match = {.vendor = hw::edu::vendor_id, .device = hw::edu::device_id},
                                .control_bytes = page_size_bytes,
                                .data_bytes = u64{2} << 20,
                                .mappings = mappings};

constexpr u64 transfers_per_generation = 2;

[[nodiscard]] constexpr u64 pattern(u64 round, u64 word) { return hw::dma_engine::mix(round, word); }

}  // namespace

const WorkloadPlan& EduWorkload::plan() const { return edu_plan; }

void EduWorkload::assign(const Resources& resources, const WorkloadOptions& options) {
  x_resources = resources;
  x_goal = transfers_per_generation * (u64{options.updates} + 1);
}

bool EduWorkload::count_landed(Landed& landed) {
  bool busy = false;
  if (!driver().read_busy(busy)) return false;
  landed.count = x_state.phase == Phase::CopyingOut && !busy ? 1 : 0;
  return true;
}

bool EduWorkload::poll() {
  constexpr u64 look_every_ns = 1'000'000;  // a look is a register access, which costs a machine in software much
  const bool is_copying = x_state.phase == Phase::CopyingIn || x_state.phase == Phase::CopyingOut;
  if (is_copying) {
    const u64 now_ns = x_resources.device.calls().system().now_ns();
    if (now_ns < x_next_look_ns) return true;
    x_next_look_ns = now_ns + look_every_ns;
    bool busy = false;
    if (!driver().read_busy(busy)) return false;
    if (busy) return true;
    if (x_state.phase == Phase::CopyingOut && !check_copy()) return false;
    ++x_state.transfers;
    x_state.phase = x_state.phase == Phase::CopyingIn ? Phase::InDevice : Phase::Idle;
  }
  if (x_state.phase == Phase::Idle) return copy_in();
  return x_state.phase != Phase::InDevice || x_held || copy_out();
}

bool EduWorkload::copy_in() {
  Copy copy;
  for (u64 i = 0; i < copy_words; ++i) copy[i] = pattern(round(), i);
  if (!x_resources.data.write(0, copy)) return false;
  x_state.phase = Phase::CopyingIn;
  return driver().transfer(Edu::Direction::FromRam, source_iova, copy_bytes);
}

bool EduWorkload::copy_out() {
  Copy copy;
  for (u64 i = 0; i < copy_words; ++i) copy[i] = ~pattern(round(), i);  // wrong until the device has written it
  if (!x_resources.data.write(page_size_bytes, copy)) return false;
  x_state.phase = Phase::CopyingOut;
  return driver().transfer(Edu::Direction::ToRam, destination_iova, copy_bytes);
}

bool EduWorkload::check_copy() {
  Copy copy;
  if (!x_resources.data.read(page_size_bytes, copy)) return false;
  for (u64 i = 0; i < copy_words; ++i) x_state.wrong += copy[i] == pattern(round(), i) ? 0 : 1;
  return true;
}

void EduWorkload::describe(Line& line) const { line.pair("transfers", x_state.transfers).pair("wrong", x_state.wrong); }

bool EduWorkload::valid_state() const {
  const bool is_odd = x_state.transfers % 2 != 0;
  const bool is_out = x_state.phase == Phase::InDevice || x_state.phase == Phase::CopyingOut;
  return x_state.phase <= Phase::CopyingOut && is_odd == is_out;
}

}  // namespace vmm
