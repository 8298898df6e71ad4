// Reading what the previous kernel handed over: see incoming_map.hpp for the contract.
#include "holdfast/kho/incoming_map.hpp"

#include <algorithm>
#include <bit>

#include "holdfast/kho/block_cut.hpp"
#include "holdfast/kho/fdt.hpp"

namespace holdfast::kho {

namespace radix = abi::kho::radix;

namespace {

/// Entirely in RAM that software may use; is_ram() alone also accepts what firmware reserved.
bool is_usable_ram(const DirectMap& map, PhysRange range) {
  if (range.size_bytes == 0) return false;
  for (const MemoryRange& part : map.memory_map())
    if (part.kind == MemoryKind::Ram && part.range.contains(range.start, range.size_bytes)) return true;
  return false;
}

/// Low end of the keys below a page of @p level that @p prefix leads to, and how many there are.
struct KeySpan {
  u64 first;
  u64 count;
};
constexpr KeySpan keys_below(unsigned level, u64 prefix) {
  const unsigned bits = radix::bitmap_lg2 + radix::node_lg2 * level;
  return {prefix << bits, u64{1} << bits};
}

/// True when some key of the span names a block that begins below @p ram_end. It prunes the walk: a path through a
/// damaged map is followed only where RAM could be meant, so the number of paths is bounded by RAM, loops or not.
bool can_name_ram(KeySpan span, PhysAddr ram_end) {
  for (unsigned order = 0; order <= max_order; ++order) {
    const u64 marker = u64{1} << (radix::order_0_bit - order);
    const u64 first = span.first < marker ? marker : span.first;
    if (first >= 2 * marker || first - span.first >= span.count) continue;
    if ((first - marker) << (page_lg2 + order) < ram_end.value) return true;
  }
  return false;
}

}  // namespace

Result<IncomingMap> IncomingMap::open(const DirectMap& map, const holdfast::Handover& handover) {
  if (handover.fdt == 0) return Code::NoData;
  IncomingMap incoming(map);
  TRY(incoming.read_root_fdt(handover));
  TRY(incoming.read_scratch(handover));
  if (!incoming.is_usable_page(incoming.x_root_fdt) || !incoming.is_usable_page(incoming.x_radix_root))
    return Code::Corrupt;
  // Scratch is written before anything is known: what is preserved there would be lost, and a device may be using it.
  for (const PhysRange& region : incoming.scratch())
    if (incoming.names_page_of(region)) return Code::Corrupt;
  return incoming;
}

Status IncomingMap::read_root_fdt(const holdfast::Handover& handover) {
  x_root_fdt = PhysAddr(handover.fdt);
  x_root_fdt_bytes = handover.fdt_size_bytes;
  if (!x_root_fdt.is_aligned(page_size_bytes) || x_root_fdt_bytes > abi::kho::root_fdt_bytes) return Code::Corrupt;
  if (!is_usable_ram(*x_map, {x_root_fdt, page_size_bytes})) return Code::Corrupt;
  if (!is_sound_fdt(fdt(), x_root_fdt_bytes)) return Code::Corrupt;
  if (!is_fdt_compatible(fdt(), 0, abi::kho::compatible)) return Code::UnknownVersion;
  const auto root = read_fdt_number(fdt(), 0, abi::kho::memory_map_property);
  if (!root.ok()) return Code::Corrupt;
  x_radix_root = PhysAddr(*root);
  return {};
}

Status IncomingMap::read_scratch(const holdfast::Handover& handover) {
  x_scratch_array = PhysAddr(handover.scratch);
  const u64 count = handover.scratch_size_bytes / sizeof(abi::kho::ScratchRegion);
  if (count == 0 || count > max_scratch_regions) return Code::Corrupt;
  if (handover.scratch_size_bytes % sizeof(abi::kho::ScratchRegion) != 0) return Code::Corrupt;
  TRY_ASSIGN(const auto* regions, x_map->find<abi::kho::ScratchRegion>(x_scratch_array, count));
  for (u64 i = 0; i < count; ++i) {
    const PhysRange region{PhysAddr(regions[i].address), regions[i].size_bytes};
    if (region.size_bytes == 0) continue;  // Linux writes one such when it needs no global region
    if (!is_page_range(region) || !is_usable_ram(*x_map, region) || is_in_scratch(region)) return Code::Corrupt;
    x_scratch[x_scratch_count++] = region;
  }
  return x_scratch_count != 0 ? Status{} : Code::Corrupt;
}

bool IncomingMap::is_in_scratch(PhysRange range) const {
  for (const PhysRange& region : scratch())
    if (region.overlaps(range)) return true;
  return false;
}

bool IncomingMap::is_usable_page(PhysAddr page) const { return is_usable(Block{page, 0}); }

bool IncomingMap::is_usable(Block block) const {
  const PhysRange range{block.start, block.size_bytes()};
  return block.start.is_aligned(block.size_bytes()) && is_usable_ram(*x_map, range) && !is_in_scratch(range);
}

bool IncomingMap::contains(Block block) const {
  if (block.order > max_order || !is_usable(block)) return false;
  const u64 key = radix::key_of(block);
  PhysAddr page = x_radix_root;
  for (unsigned level = radix::levels - 1; level != 0; --level) {
    page = PhysAddr(x_map->at<radix::Node>(page)->child[radix::child_index(key, level)]);
    if (page == PhysAddr{} || !is_usable_page(page)) return false;
  }
  return (x_map->at<radix::Bitmap>(page)->word[radix::word_index(key)] & radix::word_bit(key)) != 0;
}

std::optional<Block> IncomingMap::find_block(PhysAddr address) const {
  for (u32 order = 0; order <= max_order; ++order) {
    const Block block{PhysAddr(align_down(address.value, page_size_bytes << order)), order};
    if (contains(block)) return block;
  }
  return std::nullopt;
}

bool IncomingMap::contains_range(PhysRange range) const {
  const auto last = checked_last(range.start.value, range.size_bytes);
  if (!last) return false;
  for (u64 at = range.start.value;;) {
    const auto block = find_block(PhysAddr(at));
    if (!block) return false;
    const u64 block_last = block->start.value + (block->size_bytes() - 1);
    if (block_last >= *last) return true;
    at = block_last + 1;
  }
}

bool IncomingMap::names_page_of(PhysRange range) const {
  const u64 last = range.start.value + (range.size_bytes - 1);
  for (u32 order = 0; order <= max_order; ++order) {
    const u64 size = page_size_bytes << order;
    const u64 first_key = radix::key_of({PhysAddr(align_down(range.start.value, size)), order});
    const u64 last_key = radix::key_of({PhysAddr(align_down(last, size)), order});
    if (names_key(x_radix_root, radix::levels - 1, 0, first_key, last_key)) return true;
  }
  return false;
}

/// Depth is bounded by the levels, the paths by the keys that were asked for, loops or not.
bool IncomingMap::names_key(PhysAddr page, unsigned level, u64 prefix, u64 first, u64 last) const {
  const KeySpan span = keys_below(level, prefix);
  first = std::max(first, span.first);
  last = std::min(last, span.first + (span.count - 1));
  if (level == 0) {
    const auto* bitmap = x_map->at<radix::Bitmap>(page);
    for (u64 key = first; key <= last; key = (key | 63) + 1) {
      const u64 below_last = last - key < 63 ? ~u64{0} >> (63 - (last - key)) << (key & 63) : ~u64{0} << (key & 63);
      if ((bitmap->word[radix::word_index(key)] & below_last) != 0) return true;
    }
    return false;
  }
  const auto* node = x_map->at<radix::Node>(page);
  for (u64 i = radix::child_index(first, level); i <= radix::child_index(last, level); ++i) {
    const PhysAddr child(node->child[i]);
    if (child == PhysAddr{}) continue;
    if (is_in_scratch({child, page_size_bytes})) return true;  // what it says is lost as well
    if (!is_usable_page(child)) continue;
    if (names_key(child, level - 1, prefix << radix::node_lg2 | i, first, last)) return true;
  }
  return false;
}

struct IncomingMap::Walk {
  const IncomingMap& map;
  const Visitor<PhysAddr>* visit_page;  // either may be null
  const Visitor<Block>* visit_block;
  bool bad = false;
  std::array<PhysAddr, radix::levels> path{};

  void enter(PhysAddr page, unsigned level, u64 prefix) {
    path[level] = page;
    if (visit_page != nullptr) (*visit_page)(page);
    if (level != 0)
      enter_children(page, level, prefix);
    else if (visit_block != nullptr)
      visit_bits(page, prefix);
  }

  void enter_children(PhysAddr page, unsigned level, u64 prefix) {
    const auto* node = map.x_map->at<radix::Node>(page);
    for (u64 i = 0; i < 512; ++i) {
      const PhysAddr child(node->child[i]);
      if (child == PhysAddr{}) continue;
      const u64 child_prefix = prefix << radix::node_lg2 | i;
      if (can_name_ram(keys_below(level - 1, child_prefix), map.x_map->end()) && map.is_usable_page(child) &&
          !is_on_path(child, level))
        enter(child, level - 1, child_prefix);
      else
        bad = true;
    }
  }

  void visit_bits(PhysAddr page, u64 prefix) {
    const auto* bitmap = map.x_map->at<radix::Bitmap>(page);
    for (u64 i = 0; i < 512; ++i) {
      for (u64 bits = bitmap->word[i]; bits != 0; bits &= bits - 1) {
        const auto block =
            radix::block_of(prefix << radix::bitmap_lg2 | i << 6 | static_cast<u64>(std::countr_zero(bits)));
        if (block && map.is_usable(*block))
          (*visit_block)(*block);
        else
          bad = true;
      }
    }
  }

  [[nodiscard]] bool is_on_path(PhysAddr page, unsigned from_level) const {
    for (unsigned level = from_level; level < radix::levels; ++level)
      if (path[level] == page) return true;
    return false;
  }
};

Status IncomingMap::walk(const Visitor<Block>& visit) const {
  Walk walk{*this, nullptr, &visit};
  walk.enter(x_radix_root, radix::levels - 1, 0);
  return walk.bad ? Status(Code::Corrupt) : Status{};
}

Status IncomingMap::for_each_node(const Visitor<PhysAddr>& visit) const {
  Walk walk{*this, &visit, nullptr};
  walk.enter(x_radix_root, radix::levels - 1, 0);
  return walk.bad ? Status(Code::Corrupt) : Status{};
}

Result<PhysAddr> IncomingMap::find_subtree(std::string_view name) const {
  const int node = find_fdt_node(fdt(), name);
  if (node < 0) return Code::NotFound;
  const auto blob = read_fdt_number(fdt(), node, abi::kho::subtree_property);
  if (!blob.ok()) return Code::Corrupt;
  const PhysAddr address(*blob);
  if (!address.is_aligned(page_size_bytes) || !find_block(address)) return Code::Corrupt;
  return address;
}

void IncomingMap::for_each_subtree(const Visitor<Subtree>& visit) const {
  for (int node = fdt_first_subnode(fdt(), 0); node >= 0; node = fdt_next_subnode(fdt(), node)) {
    int length = 0;
    const char* name = fdt_get_name(fdt(), node, &length);
    const auto blob = read_fdt_number(fdt(), node, abi::kho::subtree_property);
    if (name != nullptr && blob.ok()) visit(Subtree{{name, static_cast<size_t>(length)}, *blob});
  }
}

}  // namespace holdfast::kho
