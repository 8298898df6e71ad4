#include "metal/saboteur.hpp"

#include <cstring>

#include "holdfast/hw/vtd/entries.hpp"
#include "holdfast/hw/vtd/registers.hpp"
#include "holdfast/pci/acpi.hpp"
#include "metal/console.hpp"

namespace metal {
namespace {

namespace vt = hw::vtd;

/// Register base of the first unit in the DMAR.
Result<PhysAddr> find_unit(const DirectMap& map) {
  TRY_ASSIGN(const auto dmar, pci::find_acpi_table(map, PhysAddr(boot_page().rsdp), hw::acpi::dmar_signature));
  for (u64 at = sizeof(hw::acpi::Dmar); at + sizeof(hw::acpi::Drhd) <= dmar.size();) {
    hw::acpi::Drhd unit;
    std::memcpy(&unit, dmar.data() + at, sizeof unit);
    if (unit.header.type == static_cast<u16>(hw::acpi::RemappingType::Drhd)) return PhysAddr(unit.register_base);
    if (unit.header.length == 0) break;
    at += unit.header.length;
  }
  return Code::NotFound;
}

u64* words_at(const DirectMap& map, u64 entry) { return map.at<u64>(PhysAddr(align_down(entry, page_size_bytes))); }

}  // namespace

Result<SourceId> find_function(const pci::ConfigSpace& config, u16 vendor, u16 device) {
  constexpr u32 functions = 0x10000;
  for (u32 id = 0; id < functions; ++id) {
    const SourceId function(static_cast<u16>(id));
    if (config.read<u16>(0, function, hw::pci::vendor_id_offset) == vendor &&
        config.read<u16>(0, function, hw::pci::device_id_offset) == device)
      return function;
  }
  return Code::NotFound;
}

void KernelSaboteur::act(World& world, const Handover&) {
  if (x_options.sabotage == Sabotage::None) return;
  const auto victim = find_function(x_config, x_options.watch.vendor, x_options.watch.device);
  verify_invariant(victim.ok(), "a sabotage needs metal.watch to name a device that is there");
  switch (x_options.sabotage) {
    case Sabotage::None: return;
    case Sabotage::TranslationOff: return turn_translation_off(world);
    case Sabotage::Table:
    case Sabotage::Context: return break_tables(world, *victim);
    case Sabotage::BusMaster: {
      const auto command = x_config.read<u16>(0, *victim, hw::pci::command_offset);
      const auto off = hw::pci::Command(command).with<hw::pci::command::BusMaster>(0).raw();
      return x_config.write<u16>(0, *victim, hw::pci::command_offset, static_cast<u16>(off));
    }
    case Sabotage::Record: return break_record(*victim);
  }
}

void KernelSaboteur::turn_translation_off(World& world) {
  const auto unit = find_unit(x_kernel.memory().map);
  verify_invariant(unit.ok(), "there is no unit to sabotage");
  const u32 status = reg_read<u32>(world, *unit + vt::gsts_offset) & vt::gcmd_sticky_mask;
  reg_write(world, *unit + vt::gcmd_offset, static_cast<u32>(vt::Gcmd(status).with<vt::gcmd::Te>(0).raw()));
}

/// Follows the live entries as hardware does, without the driver's help.
void KernelSaboteur::break_tables(World& world, SourceId victim) {
  const DirectMap& map = x_kernel.memory().map;
  const auto unit = find_unit(map);
  verify_invariant(unit.ok(), "there is no unit to sabotage");
  const vt::Rtaddr root(reg_read<u64>(world, *unit + vt::rtaddr_offset));
  const bool scalable = root.get<vt::rtaddr::Ttm>() == static_cast<u64>(vt::Ttm::Scalable);
  const u64* roots = words_at(map, root.raw());
  const u64 half = scalable && victim.devfn() >= vt::scalable_context_entries_per_table ? 1 : 0;
  u64* contexts = words_at(map, roots[u64{victim.bus()} * 2 + half]);
  u64* context = scalable ? contexts + u64{victim.devfn()} % vt::scalable_context_entries_per_table * 4
                          : contexts + u64{victim.devfn()} * 2;
  if (x_options.sabotage == Sabotage::Context) {
    context[0] = 0;
    return;
  }
  u64 top = context[0];
  if (scalable) {
    constexpr u64 pasid_mask = 0xfffff;
    const u64 pasid = context[1] & pasid_mask;
    const u64* directory = words_at(map, context[0]);
    top = words_at(map, directory[pasid >> vt::pasid_table_lg2])[pasid % vt::pasid_entries_per_table * 8];
  }
  std::memset(words_at(map, top), 0, page_size_bytes);
}

/// One bit of the device's record, in the part that no checksum of another record covers.
void KernelSaboteur::break_record(SourceId victim) {
  const auto device = x_kernel.iommu().find_device(0, victim);
  verify_invariant(device.ok() && (*device)->record().value != 0, "the victim of the sabotage is not preserved");
  x_kernel.memory().map.bytes((*device)->record())[sizeof(u64)] ^= std::byte{0x40};
}

}  // namespace metal
