// Bring-up, cold and live. The order is the contract: hardware that still translates for the previous kernel's devices
// is adopted from scratch memory before anything else is known, and everything that can be slow comes after.
#include "holdfast/kernel/kernel.hpp"

namespace holdfast::kernel {

namespace {
luo::Policy policy_of(const Result<Options>& options) { return options.ok() ? options->policy : luo::Policy::Holdfast; }
iommu::CoreOptions core_options(const Result<Options>& options) {
  return {.table_mode = options.ok() ? options->tables : TableMode::Arena};
}
}  // namespace

Kernel::Kernel(World& world, const BootInfo& boot)
    : x_world(world),
      x_boot(boot),
      x_options(parse_command_line(boot.command_line)),
      x_memory(world, boot),
      x_mutex(world, LockRank::Kernel),
      x_handover(x_memory),
      x_iommu(x_memory, x_handover, core_options(x_options)),
      x_config(world),
      x_pci(x_memory, x_handover, x_iommu, x_config),
      x_devices(x_memory, x_pci),
      x_orchestrator(x_memory, x_handover, policy_of(x_options)),
      x_memfd_handler(x_memory, x_handover, x_iommu, policy_of(x_options)),
      x_iommufd_handler(x_memory, x_handover, x_iommu, policy_of(x_options)),
      x_vfio_handler(x_memory, x_handover, x_iommu, x_devices, policy_of(x_options)) {}

Status Kernel::boot() {
  x_memory.touches.running = x_boot.is_live();
  x_world.phase(Phase::BootEntry, x_memory.touches.counts);
  if (!x_options.ok()) log(LogLevel::Error, "kernel: the command line has a word or a value that is not known");
  TRY(x_options);
  open_incoming_map();
  TRY(place_scratch());
  TRY(x_config.open(x_memory.map, x_boot.rsdp));
  TRY(find_units());
  TRY(take_over_units());
  x_world.phase(Phase::AdoptionDone, x_memory.touches.counts);
  x_memory.touches.running = false;

  TRY(open_memory());
  TRY(attach_memory_to_units());
  if (x_incoming) TRY(x_iommu.claim_restored());
  TRY(x_iommu.keep_roots());
  TRY(enumerate_devices());
  if (x_incoming) {
    TRY(x_iommu.verify());
    x_iommu.free_replaced_roots();
  }
  x_world.phase(Phase::VerifyDone, x_memory.touches.counts);
  TRY(open_orchestrator());
  x_orchestrator.release_incoming_if_done();
  report_faults();
  x_world.phase(Phase::LiveBootDone, x_memory.touches.counts);
  return {};
}

/// A map that cannot be read leaves nothing that could be adopted. Scratch is then where the first kernel of this
/// machine chose it, because the choice depends on the memory map alone: memory that no device was ever allowed to
/// reach.
void Kernel::open_incoming_map() {
  if (!x_boot.is_live()) return;
  auto incoming = kho::IncomingMap::open(x_memory.map, x_boot.handover);
  if (!incoming.ok() || incoming->scratch().empty()) {
    log(LogLevel::Error, "kernel: what the previous kernel handed over cannot be read; every device is blocked");
  } else if (!spares_own_image(incoming->scratch().front())) {
    log(LogLevel::Error, "kernel: the scratch memory handed over is not that of this image; every device is blocked");
  } else {
    x_incoming.emplace(std::move(incoming).value());
  }
}

/// True when early allocations from @p scratch cannot meet the running image. A kernel that was jumped into runs in
/// the image area, where there is one; the first one anywhere but in the rest of scratch.
bool Kernel::spares_own_image(const PhysRange& scratch) const {
  if (x_boot.image_area_bytes >= scratch.size_bytes) return false;
  if (x_boot.is_live() && x_boot.image_area_bytes != 0)
    return image_area_of(scratch).contains(x_boot.own_image.start, x_boot.own_image.size_bytes);
  return !early_part_of(scratch).overlaps(x_boot.own_image);
}

PhysRange Kernel::image_area_of(const PhysRange& scratch) const {
  return {scratch.start + early_part_of(scratch).size_bytes, x_boot.image_area_bytes};
}

PhysRange Kernel::early_part_of(const PhysRange& scratch) const {
  return {scratch.start, scratch.size_bytes - x_boot.image_area_bytes};
}

Status Kernel::place_scratch() {
  PhysRange scratch;
  if (x_incoming) {
    scratch = x_incoming->scratch().front();
  } else {
    const u64 size = kho::default_scratch_bytes(x_boot.memory_map) + x_boot.image_area_bytes;
    TRY_ASSIGN(scratch, kho::choose_scratch(x_boot.memory_map, size));
    if (!spares_own_image(scratch)) {
      log(LogLevel::Error, x_boot.is_live() ? "kernel: the running image is not in the image area of scratch"
                                            : "kernel: the running image is in scratch, outside the image area");
      return x_boot.is_live() ? Code::Corrupt : Code::Invalid;
    }
  }
  x_scratch = scratch;
  x_early.emplace(x_memory.map, early_part_of(scratch));
  return {};
}

Result<vtd::BusRange> Kernel::Bridges::buses_below(u16 segment, SourceId bridge) {
  TRY_ASSIGN(const auto buses, x_config.buses_below(segment, bridge));
  return vtd::BusRange{buses.secondary, buses.subordinate};
}

Status Kernel::find_units() {
  const auto table = pci::find_acpi_table(x_memory.map, x_boot.rsdp, hw::acpi::dmar_signature);
  if (table.code() == Code::NotFound)
    log(LogLevel::Error,
        "kernel: the firmware reports no remapping unit (no DMAR table): there is no IOMMU, or it is off");
  if (!table.ok()) return table.code();
  Bridges bridges(x_config);
  TRY_ASSIGN(const vtd::Dmar* dmar, vtd::Dmar::open(*table, bridges, x_memory.map, *x_early));
  for (const vtd::DmarUnit& description : dmar->units()) {
    auto unit = vtd::VtdUnit::create(x_world, x_memory.map, x_memory.touches, *x_early, *dmar, description,
                                     {.mode = x_options->mode,
                                      .rid_pasid = x_options->rid_pasid,
                                      .format = x_options->stage,
                                      .rid_pasid_support = x_options->rid_pasid_support});
    if (unit.code() == Code::NoMemory) return Code::NoMemory;
    if (!unit.ok()) {
      log(LogLevel::Error, "kernel: a remapping unit cannot be used; its devices are not available");
      if (must_block_everything()) return unit.error();
      continue;
    }
    TRY(x_iommu.add_unit(**unit));
    x_units[x_unit_count++] = *unit;
  }
  return {};
}

Status Kernel::take_over_units() {
  if (x_incoming) return x_iommu.adopt(*x_incoming, *x_early);
  const Status started = x_iommu.start_fresh();
  if (started.ok()) return {};
  log(LogLevel::Error, "kernel: a remapping unit did not start; its devices are not available");
  return must_block_everything() ? started : Status();
}

Status Kernel::open_memory() {
  TRY(x_memory.place_frames(*x_early));
  const auto& handed_on = x_incoming ? x_incoming->scratch() : std::span<const PhysRange>(&x_scratch, 1);
  for (const PhysRange& range : handed_on) x_memory.mark(range, FrameState::Scratch);
  // What is good in the map is claimed. Where a part of it is bad, memory that devices reach is about to be given out.
  if (x_incoming && !x_handover.claim_incoming(*x_incoming).ok())
    x_iommu.block_adopted("parts of the preserved map are damaged");
  if (x_incoming) x_iommu.check_reach();
  x_memory.open();
  return x_handover.open(handed_on);
}

Status Kernel::attach_memory_to_units() {
  for (std::size_t i = 0; i < x_unit_count; ++i) TRY(x_units[i]->attach_memory(x_memory));
  return {};
}

Status Kernel::enumerate_devices() {
  if (x_incoming) x_pci.read_incoming(*x_incoming);
  TRY(x_pci.scan());
  if (x_incoming) x_iommu.devices_enumerated();
  return x_devices.open();
}

Status Kernel::open_orchestrator() {
  TRY(x_orchestrator.open(x_incoming ? &*x_incoming : nullptr));
  TRY(x_orchestrator.register_handler(x_memfd_handler));
  TRY(x_orchestrator.register_handler(x_iommufd_handler));
  TRY(x_orchestrator.register_handler(x_vfio_handler));
  TRY(x_orchestrator.register_flb(x_memfd_handler, x_iommu.attest_flb()));
  for (luo::FileHandler* handler :
       {static_cast<luo::FileHandler*>(&x_iommufd_handler), static_cast<luo::FileHandler*>(&x_vfio_handler)}) {
    TRY(x_orchestrator.register_flb(*handler, x_iommu.records_flb()));
    TRY(x_orchestrator.register_flb(*handler, x_iommu.attest_flb()));
  }
  return x_orchestrator.register_flb(x_vfio_handler, x_pci.flb());
}

}  // namespace holdfast::kernel
