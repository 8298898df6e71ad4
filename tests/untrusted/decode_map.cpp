// The four numbers, the scratch array, the root FDT and the radix map.
#include <libfdt.h>

#include <bit>
#include <cstring>

#include "holdfast/abi/kho.hpp"
#include "holdfast/abi/luo.hpp"
#include "tests/untrusted/decoder.hpp"

namespace untrusted {

namespace kho = abi::kho;

namespace {
constexpr const char* header_words[] = {"magic",           "totalsize",     "off_dt_struct",     "off_dt_strings",
                                        "off_mem_rsvmap",  "version",       "last_comp_version", "boot_cpuid_phys",
                                        "size_dt_strings", "size_dt_struct"};
}  // namespace

void Decoder::read_numbers() {
  const About about{.name = "numbers", .family = Family::Map, .who = "kernel: "};
  add(about, PhysAddr(0),
      {UNTRUSTED_FIELD(Handover, fdt), UNTRUSTED_FIELD(Handover, fdt_size_bytes), UNTRUSTED_FIELD(Handover, scratch),
       UNTRUSTED_FIELD(Handover, scratch_size_bytes)});
  for (Field& field : x_map.fields) field.in_numbers = true;
}

void Decoder::read_scratch() {
  for (u64 i = 0; i < x_handover.scratch_size_bytes / sizeof(kho::ScratchRegion); ++i)
    add({.name = "scratch." + std::to_string(i), .family = Family::Map, .who = "kernel: "},
        PhysAddr(x_handover.scratch + i * sizeof(kho::ScratchRegion)),
        {UNTRUSTED_FIELD(kho::ScratchRegion, address), UNTRUSTED_FIELD(kho::ScratchRegion, size_bytes)});
  own_page(PhysAddr(align_down(x_handover.scratch, page_size_bytes)), "scratch_array", loss::everything, "");
  read_fdt(PhysAddr(x_handover.fdt), "root_fdt", Family::Map);
  own_page(PhysAddr(x_handover.fdt), "root_fdt", loss::everything, "");
}

/// Every 32-bit word of the blob, up to its total size.
void Decoder::read_fdt(PhysAddr fdt, const std::string& name, Family family) {
  const u64 size = fdt_totalsize(x_ram.bytes(fdt, page_size_bytes));
  const About about{.name = name, .family = family};
  for (u64 at = 0; at < size; at += 4) {
    const u64 word = at / 4;
    const bool in_header = word < std::size(header_words);
    add_word(about, in_header ? header_words[word] : "byte." + std::to_string(at), fdt + at, 4);
  }
}

/// A u64 in a property, which becomes a field; @p node: null for the root node.
u64 Decoder::number_property(PhysAddr fdt, const char* node, const char* property, const About& about) {
  const std::byte* blob = x_ram.bytes(fdt, page_size_bytes);
  const int at = node == nullptr ? 0 : fdt_subnode_offset(blob, 0, node);
  int length = 0;
  const void* value = fdt_getprop(blob, at, property, &length);
  if (value == nullptr || length != sizeof(u64)) throw std::runtime_error(std::string("no property ") + property);
  add_word(about, property, fdt + static_cast<u64>(static_cast<const std::byte*>(value) - blob));
  u64 number = 0;
  std::memcpy(&number, value, sizeof number);
  return number;
}

void Decoder::read_radix() {
  const PhysAddr root(number_property(PhysAddr(x_handover.fdt), nullptr, kho::memory_map_property.data(),
                                      {.name = "root_fdt", .family = Family::Map}));
  read_node(root, kho::radix::levels - 1, 0, root);
}

void Decoder::read_node(PhysAddr page, unsigned level, u64 prefix, PhysAddr sibling) {
  if (level == 0) return read_bitmap(page, prefix);
  const About about{.name = "radix." + std::to_string(x_nodes++) + ".level" + std::to_string(level),
                    .family = Family::Map,
                    .sibling = sibling};
  const auto& node = x_ram.at<kho::radix::Node>(page);
  bool empty_slot_added = false;
  for (u64 i = 0; i < 512; ++i) {
    const std::string name = "child" + std::to_string(i);
    if (node.child[i] != 0) {
      add_word(about, name, page + 8 * i);
      read_node(PhysAddr(node.child[i]), level - 1, prefix << kho::radix::node_lg2 | i, page);
    } else if (!empty_slot_added && i != 0) {
      empty_slot_added = true;
      add_word(about, name + ".empty", page + 8 * i);
    }
  }
}

void Decoder::read_bitmap(PhysAddr page, u64 prefix) {
  const About about{.name = "radix.bitmap" + std::to_string(x_bitmaps++), .family = Family::Map};
  const auto& bitmap = x_ram.at<kho::radix::Bitmap>(page);
  for (u64 i = 0; i < 512; ++i) {
    if (bitmap.word[i] == 0) continue;
    const std::string word = "word" + std::to_string(i);
    add_word(about, word, page + 8 * i, 8, Shape::Bits);
    for (u64 bits = bitmap.word[i]; bits != 0; bits &= bits - 1) {
      const auto bit = static_cast<unsigned>(std::countr_zero(bits));
      const auto block = kho::radix::block_of(prefix << kho::radix::bitmap_lg2 | i << 6 | bit);
      if (!block) throw std::runtime_error("the map names a block that cannot be");
      const Owner* owner = owner_of(*block);
      if (owner == nullptr) x_map.unowned.push_back({block->start, block->size_bytes()});
      add_word(about, word, page + 8 * i, 8, Shape::OneBit);
      Field& field = x_map.fields.back();
      field.name = "map." + (owner != nullptr ? owner->what : "unowned") + "." + std::to_string(bit);
      field.bit = bit;
      if (owner != nullptr) field.may_lose = owner->may_lose;
      if (owner != nullptr) field.who = owner->who;
    }
  }
}

const Owner* Decoder::owner_of(Block block) const {
  for (const Owner& owner : x_map.owners)
    if (owner.range.overlaps({block.start, block.size_bytes()})) return &owner;
  return nullptr;
}

}  // namespace untrusted
