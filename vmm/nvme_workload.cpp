#include "vmm/nvme_workload.hpp"

#include <algorithm>
#include <array>

namespace vmm {
namespace {

constexpr u64 half_bytes = units_per_batch * page_size_bytes;
constexpr u64 queues_iova = control_iova(WorkloadKind::Nvme);
constexpr u64 written_iova = data_iova(WorkloadKind::Nvme);
constexpr u64 read_iova = written_iova + 0x4000'0000;
constexpr u64 most_units = 1024;
/// A batch reads units that it does not write.
constexpr u64 fewest_units = 2 * units_per_batch;

constexpr std::array<PlannedMapping, 3> mappings{{
    {.file = WorkloadFile::Control,
     .access = Access::ReadWrite,
     .offset = 0,
     .length = Nvme::queue_file_bytes,
     .iova = queues_iova},
    {.file = WorkloadFile::Data, .access = Access::Read, .offset = 0, .length = half_bytes, .iova = written_iova},
    {.file = WorkloadFile::Data,
     .access = Access::Write,
     .offset = half_bytes,
     .length = half_bytes,
     .iova = read_iova},
}};

constexpr WorkloadPlan nvme_plan{.kind = WorkloadKind::Nvme,
                                 .match = {.class_code = hw::nvme::class_code},
                                 .control_bytes = Nvme::queue_file_bytes,
                                 .data_bytes = u64{2} << 20,
                                 .mappings = mappings};

/// Pages pass through the stack in pieces.
constexpr u64 piece_words = 64;
using Piece = std::array<u64, piece_words>;

}  // namespace

const WorkloadPlan& NvmeWorkload::plan() const { return nvme_plan; }

void NvmeWorkload::assign(const Resources& resources, const WorkloadOptions& options) {
  x_resources = resources;
  x_driver = Nvme(resources.device, resources.control, queues_iova);
  x_goal = std::max<u64>(options.frames / 10, u64{slots} * 2 * (options.updates + 1));
}

bool NvmeWorkload::start() {
  if (!x_driver.start(x_state.queues)) return false;
  const u64 units = x_state.queues.blocks >> (page_lg2 - x_state.queues.block_lg2);
  x_state.units = std::min(units, most_units);
  const bool is_enough = x_state.units >= fewest_units;
  return x_resources.device.calls().check(is_enough ? 0 : -to_errno(Code::NoSpace), "size of the NVMe namespace");
}

bool NvmeWorkload::count_landed(Landed& landed) {
  u32 completed = 0;
  if (!x_driver.count_completed(x_state.queues, completed)) return false;
  landed = {.count = completed, .first = x_state.queues.completion_head};
  return true;
}

bool NvmeWorkload::poll() {
  const u64 batch = x_state.batches - 1;
  u32 done = 0;
  const auto take = [&](const hw::nvme::Completion& entry) {
    const u32 bit = entry.command_id < slots ? u32{1} << entry.command_id : 0;
    const bool is_ours = (x_state.pending & bit) != 0;
    x_state.errors += is_ours && hw::nvme::status_of(entry) == 0 ? 0 : 1;
    x_state.pending &= ~bit;
    if (is_ours) done |= bit;
  };
  if (!x_driver.complete(x_state.queues, take)) return false;
  for (u32 slot = 0; slot < slots; ++slot) {
    if ((done >> slot & 1) == 0) continue;
    const bool is_read = slot >= units_per_batch;
    ++(is_read ? x_state.reads : x_state.writes);
    const u64 of_half = slot - units_per_batch;
    if (is_read && !check_page(slot * page_size_bytes, batch - 1, unit_of(batch - 1, of_half, x_state.units)))
      return false;
  }
  return x_state.pending != 0 || x_held || issue_batch();
}

bool NvmeWorkload::issue_batch() {
  for (u32 slot = 0; slot < slots; ++slot)
    if (!issue_slot(slot)) return false;
  ++x_state.batches;
  return x_driver.ring_doorbell(x_state.queues);
}

bool NvmeWorkload::issue_slot(u32 slot) {
  const u64 batch = x_state.batches;
  const u64 in_file = slot * page_size_bytes;
  if (slot < units_per_batch) {
    const u64 unit = unit_of(batch, slot, x_state.units);
    if (!fill_page(in_file, batch, unit)) return false;
    if (!x_driver.submit(x_state.queues, Nvme::Direction::Write, static_cast<u16>(slot), block_of(unit),
                         written_iova + in_file))
      return false;
  } else {
    if (batch == 0) return true;  // nothing was written yet
    const u64 unit = unit_of(batch - 1, slot - units_per_batch, x_state.units);
    if (!clear_page(in_file)) return false;
    if (!x_driver.submit(x_state.queues, Nvme::Direction::Read, static_cast<u16>(slot), block_of(unit),
                         read_iova + in_file - half_bytes))
      return false;
  }
  x_state.pending |= u32{1} << slot;
  return true;
}

bool NvmeWorkload::fill_page(u64 offset, u64 batch, u64 unit) {
  Piece piece;
  for (u64 word = 0; word < words_per_unit; word += piece_words) {
    for (u64 i = 0; i < piece_words; ++i) piece[i] = disk_word(batch, unit, word + i);
    if (!x_resources.data.write(offset + word * sizeof(u64), piece)) return false;
  }
  return true;
}

bool NvmeWorkload::clear_page(u64 offset) {
  constexpr Piece zeroes{};
  for (u64 word = 0; word < words_per_unit; word += piece_words)
    if (!x_resources.data.write(offset + word * sizeof(u64), zeroes)) return false;
  return true;
}

bool NvmeWorkload::check_page(u64 offset, u64 batch, u64 unit) {
  Piece piece;
  for (u64 word = 0; word < words_per_unit; word += piece_words) {
    if (!x_resources.data.read(offset + word * sizeof(u64), piece)) return false;
    for (u64 i = 0; i < piece_words; ++i) x_state.wrong += piece[i] == disk_word(batch, unit, word + i) ? 0 : 1;
  }
  return true;
}

void NvmeWorkload::describe(Line& line) const {
  line.pair("reads", x_state.reads).pair("writes", x_state.writes).pair("wrong", x_state.wrong);
  line.pair("errors", x_state.errors).pair("batches", x_state.batches).pair("units", x_state.units);
}

bool NvmeWorkload::valid_state() const {
  return Nvme::valid(x_state.queues) && x_state.units >= fewest_units && x_state.units <= most_units &&
         x_state.units <= x_state.queues.blocks && x_state.batches != 0;
}

}  // namespace vmm
