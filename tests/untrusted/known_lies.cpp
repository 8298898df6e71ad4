// The lies that the kernel cannot or need not see through, each with its reason. Everything else is refused and named.
#include "tests/untrusted/judge.hpp"

namespace untrusted {
namespace {

constexpr Known harmless[] = {
    // The flat device trees.
    {"*_fdt.boot_cpuid_phys", "*", "nobody reads it"},
    {"*_fdt.version", "*", "a later version that says it is compatible is read as libfdt reads it"},
    {"*_fdt.last_comp_version", "*", "an older one is as good"},
    {"*_fdt.byte.4[048]", "*", "the memory reservation block, which nobody reads"},
    {"*_fdt.byte.52", "*", "the memory reservation block, which nobody reads"},
    {"numbers.fdt_size_bytes", "*", "larger than the tree, and inside its page"},
    // The map.
    {"map.root_fdt.*", "off", "its page is known from the four numbers"},
    {"map.scratch_array.*", "off", "its page is known from the four numbers"},
    {"radix.bitmap*", "one *", "one block more is only held back"},
    {"scratch.0.*", "*", "any memory serves that is outside everything preserved"},
    // LUO. Linux's records have no checksum.
    {"*.compatible", "last byte changed", "behind the end of the text"},
    {"*.name", "last byte changed", "behind the end of the text"},
    {"memfd.*.position", "*", "every position is possible"},
    {"memfd.*.seals", "*", "other seals are possible"},
    {"memfd.*.size_bytes", "one less", "a size inside the last page"},
    {"memfd.*.folios.flags", "*", "how the list was mapped once"},
    {"memfd.*.chunk.pages.1", "*", "behind the last page of the list"},
    // Ours, with a checksum made right: facts that are told once, and that nothing depends on.
    {"flb_header.count", "one more", "an FLB without a name"},
    {"*.header.ref_count", "*", "counted anew by the next kernel"},
    {"*_attests.nr_objects", "one more", "an attestation of nothing"},
    {"attestation.table_mode", "*", "of the writer's new domains"},
    {"attestation.reserved", "*", "not read"},
    {"block_list.*.reserved", "*", "not read"},
    {"block_list.*.blocks.behind_the_last", "*", "not read"},
    {"unit_attest.*.scalable", "*", "a yes is a yes"},
    {"unit_attest.*.coherent", "*", "a yes is a yes"},
    {"memfd_attest.*.open_flags", "*", "told once"},
    {"memfd_attest.*.mode", "*", "told once"},
    {"iommufd.hwpt.*.page_sizes", "*", "told once"},
    {"vfio.*.hwpt_token", "*", "domain_phys decides"},
    {"pci.max_nr_devices", "*", "room, as long as the block has it"},
    {"pci.*.ref_count", "*", "counted anew by the next kernel"},
    {"pci.*.reserved", "*", "not read"},
    {"pci.*.reserved2", "*", "not read"},
    {"pci.bridge.bar_bytes.*", "*", "those of bridges are not used"},
    {"pci.*.bar_bytes.0", "*", "a size that reaches into nothing else; the device runs and cannot be asked"},
    // Hardware.
    {"context.*.stray", "one page *", "not present"},
    {"context.*.stray", "outside memory", "not present"},
    {"context.*.stray", "into free memory", "not present"},
    {"context.*.stray", "at *", "not present"},
    {"pasid_entry.*.of_pasid_1", "*", "the context entry, which was checked, lets no request with a PASID through"},
};

constexpr Known unnamed[] = {
    {"numbers.fdt", "zero", "a first boot"},
    {"session.name", "first byte changed", "a session by another name"},
    {"session.file_set.count", "*", "a shorter list"},
    {"file.*.token", "*", "a file under another token"},
    {"memfd_attest.*.open_flags", "*", "a file that was opened otherwise"},
};

constexpr Known tables[] = {
    {"table.*", "zero", "not mapped any more"},
    {"table.*.level0.entry*", "one less", "write only"},
    {"table.*", "one page *", "other preserved memory"},
    {"table.*", "at another record*", "other preserved memory"},
};

}  // namespace

std::span<const Known> sound_tables() { return tables; }
std::span<const Known> harmless_lies() { return harmless; }
std::span<const Known> unnamed_lies() { return unnamed; }

}  // namespace untrusted
