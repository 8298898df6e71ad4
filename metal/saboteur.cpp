#include "metal/saboteur.hpp"

#include <cstring>

#include "holdfast/hw/vtd/entries.hpp"
#include "holdfast/hw/vtd/registers.hpp"
#include "metal/watched_register.hpp"

namespace metal {
namespace {

namespace vt = hw::vtd;

/// An entry that hardware reads, where it stands.
template <class Entry>
Entry load_entry(const u64* words) {
  if constexpr (Entry::word_count == 1) {
    return Entry(*words);
  } else {
    typename Entry::Words copy;
    std::memcpy(copy.data(), words, sizeof copy);
    return Entry(copy);
  }
}

/// Entry @p index of the table in page frame @p table.
template <class Entry>
u64* entry_at(const DirectMap& map, u64 table, u64 index) {
  return map.at<u64>(PhysAddr(table * page_size_bytes)) + index * Entry::word_count;
}

/// Page frame of the top page table, of either stage.
u64 top_table(const vt::PasidEntry& entry) {
  const bool first_stage = entry.get<vt::pasid_entry::Pgtt>() == static_cast<u64>(vt::Pgtt::FirstStage);
  return first_stage ? entry.get<vt::pasid_entry::Fsptptr>() : entry.get<vt::pasid_entry::Ssptptr>();
}

}  // namespace

void KernelSaboteur::act(World& world) {
  if (x_options.sabotage == Sabotage::None) return;
  const auto victim = find_function(x_config, x_options.watch.vendor, x_options.watch.device);
  verify_invariant(victim.ok(), "a sabotage needs metal.watch to name a device that is there");
  switch (x_options.sabotage) {
    case Sabotage::None: return;
    case Sabotage::TranslationOff: return turn_translation_off(world, *victim);
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

PhysAddr KernelSaboteur::unit_of(SourceId victim) {
  const auto device = x_kernel.iommu().find_device(0, victim);
  verify_invariant(device.ok(), "no unit translates the victim of the sabotage");
  return (*device)->unit().register_base();
}

void KernelSaboteur::turn_translation_off(World& world, SourceId victim) {
  const PhysAddr unit = unit_of(victim);
  const u32 status = reg_read<u32>(world, unit + vt::gsts_offset) & vt::gcmd_sticky_mask;
  reg_write(world, unit + vt::gcmd_offset, static_cast<u32>(vt::Gcmd(status).with<vt::gcmd::Te>(0).raw()));
}

/// Follows the live entries as hardware does, without the driver's help.
void KernelSaboteur::break_tables(World& world, SourceId victim) {
  const DirectMap& map = x_kernel.memory().map;
  const vt::Rtaddr root(reg_read<u64>(world, unit_of(victim) + vt::rtaddr_offset));
  const u64 roots = root.get<vt::rtaddr::Rta>();
  const u64 top = root.get<vt::rtaddr::Ttm>() == static_cast<u64>(vt::Ttm::Scalable)
                      ? break_scalable_context(map, roots, victim)
                      : break_context(map, roots, victim);
  if (x_options.sabotage == Sabotage::Table)
    std::memset(map.bytes(PhysAddr(top * page_size_bytes)), 0, page_size_bytes);
}

/// Clears the context entry if that was asked for. Returns the page frame of the top page table.
u64 KernelSaboteur::break_context(const DirectMap& map, u64 roots, SourceId victim) {
  const auto root = load_entry<vt::RootEntry>(entry_at<vt::RootEntry>(map, roots, victim.bus()));
  u64* context = entry_at<vt::ContextEntry>(map, root.get<vt::root_entry::Ctp>(), victim.devfn());
  const u64 top = load_entry<vt::ContextEntry>(context).get<vt::context_entry::Ssptptr>();
  if (x_options.sabotage == Sabotage::Context) context[0] = 0;
  return top;
}

u64 KernelSaboteur::break_scalable_context(const DirectMap& map, u64 roots, SourceId victim) {
  using namespace vt::scalable_context_entry;  // NOLINT: one entry's fields
  const auto root = load_entry<vt::ScalableRootEntry>(entry_at<vt::ScalableRootEntry>(map, roots, victim.bus()));
  const u64 contexts = victim.devfn() < vt::scalable_context_entries_per_table
                           ? root.get<vt::scalable_root_entry::Lctp>()
                           : root.get<vt::scalable_root_entry::Uctp>();
  u64* context =
      entry_at<vt::ScalableContextEntry>(map, contexts, victim.devfn() % vt::scalable_context_entries_per_table);
  const auto entry = load_entry<vt::ScalableContextEntry>(context);
  const u64 pasid = entry.get<RidPasid>();
  const auto directory = load_entry<vt::PasidDirectoryEntry>(
      entry_at<vt::PasidDirectoryEntry>(map, entry.get<PasidDirPtr>(), pasid >> vt::pasid_table_lg2));
  const u64 top = top_table(load_entry<vt::PasidEntry>(entry_at<vt::PasidEntry>(
      map, directory.get<vt::pasid_directory_entry::SmptblPtr>(), pasid % vt::pasid_entries_per_table)));
  if (x_options.sabotage == Sabotage::Context) context[0] = 0;
  return top;
}

/// One bit of the device's record, in the part that no checksum of another record covers.
void KernelSaboteur::break_record(SourceId victim) {
  const auto device = x_kernel.iommu().find_device(0, victim);
  verify_invariant(device.ok() && (*device)->record().value != 0, "the victim of the sabotage is not preserved");
  x_kernel.memory().map.bytes((*device)->record())[sizeof(u64)] ^= std::byte{0x40};
}

}  // namespace metal
