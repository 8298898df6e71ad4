// The outgoing radix map: see radix_map.hpp for the contract, abi/kho.hpp for the layout.
#include "holdfast/kho/radix_map.hpp"

#include <algorithm>
#include <array>

#include "holdfast/kho/block_cut.hpp"

namespace holdfast::kho {

namespace radix = abi::kho::radix;

namespace {

/// The page is a node or a bitmap: 512 words either way. Starts at @p near, where a word that is set is likeliest.
bool is_empty(const u64* words, unsigned near) {
  return std::all_of(words + near, words + 512, [](u64 word) { return word == 0; }) &&
         std::all_of(words, words + near, [](u64 word) { return word == 0; });
}

}  // namespace

Status RadixMap::open() {
  TRY_ASSIGN(x_root, x_memory.buddy.allocate_zeroed(0));
  x_nodes = 1;
  return {};
}

void RadixMap::close() {
  if (x_nodes == 0) return;
  free_node(x_root, radix::levels - 1);
  x_root = {};
  x_count = 0;
}

void RadixMap::free_node(PhysAddr page, unsigned level) {
  if (level != 0) {
    for (u64 child : node(page)->child)
      if (child != 0) free_node(PhysAddr(child), level - 1);
  }
  x_memory.buddy.release(page, 0);
  --x_nodes;
}

Status RadixMap::reserve(u64 key) {
  PhysAddr page = x_root;
  for (unsigned level = radix::levels - 1; level != 0; --level) {
    u64& child = node(page)->child[radix::child_index(key, level)];
    if (child == 0) {
      auto made = x_memory.buddy.allocate_zeroed(0);
      if (!made.ok()) return prune(key), made.error();
      child = made->value;
      ++x_nodes;
    }
    page = PhysAddr(child);
  }
  return {};
}

void RadixMap::prune(u64 key) {
  std::array<PhysAddr, radix::levels> path{};
  path[radix::levels - 1] = x_root;
  unsigned lowest = radix::levels - 1;
  for (; lowest != 0; --lowest) {
    const u64 child = node(path[lowest])->child[radix::child_index(key, lowest)];
    if (child == 0) break;
    path[lowest - 1] = PhysAddr(child);
  }
  for (unsigned level = lowest; level != radix::levels - 1; ++level) {
    const unsigned near = level == 0 ? radix::word_index(key) : radix::child_index(key, level);
    if (!is_empty(x_memory.map.at<u64>(path[level]), near)) return;
    node(path[level + 1])->child[radix::child_index(key, level + 1)] = 0;
    x_memory.buddy.release(path[level], 0);
    --x_nodes;
  }
}

RadixMap::Bitmap* RadixMap::find_bitmap(u64 key) const {
  PhysAddr page = x_root;
  for (unsigned level = radix::levels - 1; level != 0; --level) {
    page = PhysAddr(node(page)->child[radix::child_index(key, level)]);
    if (page == PhysAddr{}) return nullptr;
  }
  return x_memory.map.at<Bitmap>(page);
}

void RadixMap::set(Bitmap& bitmap, u64 key) {
  u64& word = bitmap.word[radix::word_index(key)];
  x_count += (word & radix::word_bit(key)) == 0 ? 1 : 0;
  word |= radix::word_bit(key);
}

void RadixMap::clear(Bitmap& bitmap, u64 key) {
  u64& word = bitmap.word[radix::word_index(key)];
  if ((word & radix::word_bit(key)) == 0) return;
  word &= ~radix::word_bit(key);
  --x_count;
  if (word == 0) prune(key);
}

void RadixMap::insert(u64 key) {
  Bitmap* bitmap = find_bitmap(key);
  verify_invariant(bitmap != nullptr, "a key was inserted without reserve()");
  set(*bitmap, key);
}

void RadixMap::erase(u64 key) {
  if (Bitmap* bitmap = find_bitmap(key)) clear(*bitmap, key);
}

bool RadixMap::contains(u64 key) const {
  const Bitmap* bitmap = find_bitmap(key);
  return bitmap != nullptr && (bitmap->word[radix::word_index(key)] & radix::word_bit(key)) != 0;
}

Status RadixMap::insert_range(PhysRange range) {
  Code failure = Code::Ok;
  const PhysRange reserved = cut_while(range, [&](Block block) {
    failure = reserve(radix::key_of(block)).code();
    return failure == Code::Ok;
  });
  // All paths exist: setting the bits cannot fail. Or one does not: paths made for nothing go again.
  cut(reserved, [&](Block block) {
    if (failure == Code::Ok)
      insert(radix::key_of(block));
    else
      prune(radix::key_of(block));
  });
  return failure;
}

void RadixMap::erase_range(PhysRange range) {
  cut(range, [&](Block block) { erase(radix::key_of(block)); });
}

bool RadixMap::contains_range(PhysRange range) const {
  return cut_while(range, [&](Block block) { return contains(radix::key_of(block)); }) == range;
}

/// Bitmaps that were used lately, each in the place that its keys say.
class RadixMap::Bitmaps {
 public:
  explicit Bitmaps(const RadixMap& map) : x_map(map) {}

  /// Null when there is none.
  [[nodiscard]] Bitmap* find(u64 key) {
    Place& place = place_of(key);
    if (place.prefix == prefix_of(key)) return place.bitmap;
    Bitmap* bitmap = x_map.find_bitmap(key);
    if (bitmap != nullptr) place = {prefix_of(key), bitmap};
    return bitmap;
  }
  /// Some of them were freed.
  void forget() { x_places = {}; }

 private:
  struct Place {
    u64 prefix = 0;  // no key's: each has its marker
    Bitmap* bitmap = nullptr;
  };
  static constexpr std::size_t places = 32;  // pages of 4 GiB

  static u64 prefix_of(u64 key) { return key >> radix::bitmap_lg2; }
  Place& place_of(u64 key) { return x_places[prefix_of(key) % places]; }

  const RadixMap& x_map;
  std::array<Place, places> x_places;
};

Status RadixMap::insert_each(std::span<const PhysAddr> starts, unsigned order) {
  Bitmaps bitmaps(*this);
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const u64 key = radix::key_of({starts[i], order});
    Bitmap* bitmap = bitmaps.find(key);
    if (bitmap == nullptr) {
      const Status made = reserve(key);
      if (!made.ok()) {
        for (const PhysAddr start : starts.first(i)) prune(radix::key_of({start, order}));
        return made;
      }
      bitmap = bitmaps.find(key);
    }
    __builtin_prefetch(&bitmap->word[radix::word_index(key)], 1);
  }
  // All paths exist: setting the bits cannot fail.
  for (const PhysAddr start : starts) {
    const u64 key = radix::key_of({start, order});
    set(*bitmaps.find(key), key);
  }
  return {};
}

void RadixMap::erase_each(std::span<const PhysAddr> starts, unsigned order) {
  Bitmaps bitmaps(*this);
  for (const PhysAddr start : starts) {
    const u64 key = radix::key_of({start, order});
    Bitmap* bitmap = bitmaps.find(key);
    if (bitmap == nullptr) continue;
    const u64 nodes = x_nodes;
    clear(*bitmap, key);
    if (x_nodes != nodes) bitmaps.forget();
  }
}

void RadixMap::for_each(const Visitor<u64>& visit) const { visit_node(x_root, radix::levels - 1, 0, visit); }

void RadixMap::visit_node(PhysAddr page, unsigned level, u64 prefix, const Visitor<u64>& visit) const {
  const u64* words = x_memory.map.at<u64>(page);
  for (u64 i = 0; i < 512; ++i) {
    if (level != 0) {
      if (words[i] != 0) visit_node(PhysAddr(words[i]), level - 1, prefix << radix::node_lg2 | i, visit);
      continue;
    }
    for (u64 bits = words[i]; bits != 0; bits &= bits - 1)
      visit(prefix << radix::bitmap_lg2 | i << 6 | static_cast<u64>(std::countr_zero(bits)));
  }
}

}  // namespace holdfast::kho
