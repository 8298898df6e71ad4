// Freeze and jump. Everything that can fail comes before the last consent and is rolled back to the exact initial
// state; after it nothing allocates, and only a jump that returns leads back.
#include "holdfast/base/text_line.hpp"
#include "holdfast/kernel/image_note.hpp"
#include "holdfast/kernel/kernel.hpp"
#include "holdfast/memory/vec.hpp"

namespace holdfast::kernel {

namespace {

/// Blocks this large or larger are page tables and guest memory; what the cut-off writes is smaller.
constexpr u32 least_dropped_order = 6;

}  // namespace

Code Kernel::live_update() {
  x_world.phase(Phase::FreezeBegin, {});
  Readiness reached = Readiness::Nothing;
  if (const Status ready = get_ready(reached); !ready.ok()) {
    undo(reached);
    return ready.code();
  }

  x_memory.touches = {};
  x_memory.touches.running = true;
  x_world.phase(Phase::LastConsent, x_memory.touches.counts);
  if (const Status blocked = x_iommu.cut_off(); !blocked.ok()) {
    x_memory.touches.running = false;
    // cut_off() put its own part back and abandoned the core's part of the freeze.
    x_world.cancel_jump();
    x_orchestrator.unfreeze();
    x_world.phase(Phase::JumpFailed, {});
    return blocked.code();
  }
  x_world.phase(Phase::CutOffDone, x_memory.touches.counts);
  x_world.phase(Phase::JumpBegin, x_memory.touches.counts);
  const Code why = x_world.jump(x_handover.numbers());

  x_memory.touches.running = false;
  x_iommu.reinstate();
  x_world.cancel_jump();
  x_orchestrator.unfreeze();
  report_faults();
  x_world.phase(Phase::JumpFailed, {});
  return why;
}

Status Kernel::get_ready(Readiness& reached) {
  TRY(check_successor());
  TRY(check_unblocked_devices());
  TRY(x_orchestrator.freeze());
  reached = Readiness::Frozen;
  TRY(x_iommu.prepare_freeze(x_orchestrator.number() + 1));
  reached = Readiness::CoreReady;
  TRY(drop_view());
  reached = Readiness::ViewDropped;
  return {};
}

void Kernel::undo(Readiness reached) {
  if (reached >= Readiness::ViewDropped) x_world.cancel_jump();
  if (reached >= Readiness::CoreReady) x_iommu.abandon_freeze();
  if (reached >= Readiness::Frozen) x_orchestrator.unfreeze();
}

Status Kernel::check_successor() {
  std::array<std::byte, largest_note_bytes> note;
  auto length = x_world.read_next_image_note(note);
  if (!length.ok()) {
    log(LogLevel::Error, "kernel: the next image cannot be asked what it reads; the live update is refused");
    return length.error();
  }
  std::string_view missing;
  const std::string_view text(reinterpret_cast<const char*>(note.data()), std::min<u64>(*length, note.size()));
  const Written written{.first_stage = x_iommu.preserves(pt::Format::X86FirstStage)};
  if (const Status status = check_next_image(text, written, missing); !status.ok()) {
    log(LogLevel::Error, "kernel: the live update is refused: the next image does not read the layout that follows");
    log(LogLevel::Error, missing);
    return status;
  }
  return {};
}

/// What stands behind no unit, or behind one that does not work, is not cut off: it would go on writing to memory that
/// the next kernel gives out. Only with its bus mastering off is it harmless.
Status Kernel::check_unblocked_devices() {
  Status status;
  x_pci.for_each_function([&](pci::Function& function) {
    if (function.is_bridge || function.iommu_device != nullptr) return;
    if (x_pci.bus_master(function) == pci::BusMaster::Off) return;
    TextLine line;
    line.text("kernel: the live update is refused: no working unit blocks ").device(function.segment, function.id);
    log(LogLevel::Error, line.text(", and its bus mastering is on: turn that off").view());
    status = Code::Busy;
  });
  return status;
}

/// Records, root, context and PASID tables are small blocks, and the cut-off still writes them. Nobody here touches
/// page tables and guest memory again: their large blocks go; what they have in small ones is a few pages.
Status Kernel::drop_view() {
  Vec<PhysRange> ranges(x_memory.heap);
  Status collected;
  x_handover.for_each([&](Block block) {
    if (block.order < least_dropped_order || !collected.ok()) return;
    const PhysRange range{block.start, block.size_bytes()};
    if (ranges.size() != 0) {
      PhysRange& last = ranges[ranges.size() - 1];
      if (last.start + last.size_bytes == range.start) {
        last.size_bytes += range.size_bytes;
        return;
      }
    }
    collected = ranges.push_back(range);
  });
  TRY(collected);
  return x_world.prepare_jump(ranges.span());
}

void Kernel::report_faults() {
  for (std::size_t i = 0; i < x_unit_count; ++i) x_units[i]->drain_faults();
}

}  // namespace holdfast::kernel
