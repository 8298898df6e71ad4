// The outgoing set, the root FDT, and alloc_preserve: see handover.hpp for the contract.
#include "holdfast/kho/handover.hpp"

#include <algorithm>
#include <cstring>

#include "holdfast/kho/block_cut.hpp"
#include "holdfast/kho/fdt.hpp"
#include "holdfast/kho/state_hash.hpp"

namespace holdfast::kho {

namespace radix = abi::kho::radix;

namespace {

constexpr u64 longest_subtree_name = 31;  // a node name of the device tree specification

bool is_subtree_name(std::string_view name) {
  const auto is_legal = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  return !name.empty() && name.size() <= longest_subtree_name && std::all_of(name.begin(), name.end(), is_legal);
}

/// One child of the root FDT.
void write_subtree(FdtWriter& fdt, std::string_view name, PhysAddr blob) {
  std::array<char, longest_subtree_name + 1> text{};
  std::copy_n(name.begin(), std::min<u64>(name.size(), longest_subtree_name), text.begin());
  fdt.begin(text.data());
  fdt.number(abi::kho::subtree_property.data(), blob.value);
  fdt.end();
}

}  // namespace

Handover::Handover(Memory& memory) : x_memory(memory), x_mutex(memory.world, LockRank::Handover), x_radix(memory) {}

Status Handover::open(std::span<const PhysRange> scratch) {
  might_sleep(x_memory.world);
  if (scratch.empty() || scratch.size() > max_scratch_regions) return Code::Invalid;
  for (const PhysRange& region : scratch)
    if (!is_page_range(region) || !x_memory.map.is_ram(region.start, region.size_bytes)) return Code::Invalid;
  x_mutex.lock();
  const Status status = write_empty(scratch);
  x_mutex.unlock();
  if (!status.ok()) close();
  return status;
}

Status Handover::write_empty(std::span<const PhysRange> scratch) {
  TRY(x_radix.open());
  TRY_ASSIGN(x_root, x_memory.buddy.allocate_zeroed(0));
  TRY_ASSIGN(x_spare, x_memory.buddy.allocate_zeroed(0));
  TRY_ASSIGN(x_scratch_page, x_memory.buddy.allocate_zeroed(0));
  auto* regions = x_memory.map.at<abi::kho::ScratchRegion>(x_scratch_page);
  for (const PhysRange& region : scratch) {
    x_scratch[x_scratch_count] = region;
    regions[x_scratch_count++] = {region.start.value, region.size_bytes};
  }
  TRY(x_radix.insert_range({x_root, page_size_bytes}));
  TRY(x_radix.insert_range({x_scratch_page, page_size_bytes}));
  return write_root({}, {}, {});
}

void Handover::close() {
  Guard guard(x_mutex);
  x_radix.close();
  for (PhysAddr* page : {&x_root, &x_spare, &x_scratch_page}) {
    if (*page != PhysAddr{}) x_memory.buddy.release(*page, 0);
    *page = {};
  }
  x_scratch_count = 0;
}

bool Handover::is_preservable(PhysRange range) const {
  if (!is_page_range(range) || !x_memory.map.is_ram(range.start, range.size_bytes)) return false;
  return std::none_of(scratch().begin(), scratch().end(), [&](const PhysRange& s) { return s.overlaps(range); });
}

Status Handover::preserve(Block block) {
  might_sleep(x_memory.world);
  if (block.order > max_order || !block.start.is_aligned(block.size_bytes())) return Code::Invalid;
  const PhysRange range{block.start, block.size_bytes()};
  if (!is_preservable(range)) return Code::Invalid;
  Guard guard(x_mutex);
  return x_radix.insert_range(range);
}

void Handover::unpreserve(Block block) {
  might_sleep(x_memory.world);
  if (block.order > max_order || !block.start.is_aligned(block.size_bytes())) return;
  Guard guard(x_mutex);
  x_radix.erase(radix::key_of(block));
}

PhysRange Handover::preservable_around(Block block) const {
  u64 first = block.start.value;
  u64 past = first + block.size_bytes();
  for (const MemoryRange& entry : x_memory.map.memory_map()) {
    if (!entry.range.contains(block.start, block.size_bytes())) continue;
    first = entry.range.start.value;
    past = first + entry.range.size_bytes;
  }
  for (const PhysRange& region : scratch()) {
    if (region.start < block.start)
      first = std::max(first, region.start.value + region.size_bytes);
    else
      past = std::min(past, region.start.value);
  }
  return {PhysAddr(first), past - first};
}

Status Handover::preserve_each(std::span<const PhysAddr> starts, unsigned order) {
  might_sleep(x_memory.world);
  if (order > max_order) return Code::Invalid;
  PhysRange good;
  for (const PhysAddr start : starts) {
    const Block block{start, order};
    if (!start.is_aligned(block.size_bytes())) return Code::Invalid;
    if (good.contains(start, block.size_bytes())) continue;
    if (!is_preservable({start, block.size_bytes()})) return Code::Invalid;
    good = preservable_around(block);
  }
  Guard guard(x_mutex);
  return x_radix.insert_each(starts, order);
}

void Handover::unpreserve_each(std::span<const PhysAddr> starts, unsigned order) {
  might_sleep(x_memory.world);
  if (order > max_order) return;
  const auto is_block = [&](PhysAddr start) { return start.is_aligned(page_size_bytes << order); };
  if (!std::all_of(starts.begin(), starts.end(), is_block)) return BlockSink::unpreserve_each(starts, order);
  Guard guard(x_mutex);
  x_radix.erase_each(starts, order);
}

bool Handover::contains(Block block) const {
  if (block.order > max_order || !block.start.is_aligned(block.size_bytes())) return false;
  Guard guard(x_mutex);
  return x_radix.contains(radix::key_of(block));
}

Status Handover::preserve_range(PhysRange range) {
  might_sleep(x_memory.world);
  if (!is_preservable(range)) return Code::Invalid;
  Guard guard(x_mutex);
  return x_radix.insert_range(range);
}

void Handover::unpreserve_range(PhysRange range) {
  might_sleep(x_memory.world);
  if (!is_page_range(range)) return;
  Guard guard(x_mutex);
  x_radix.erase_range(range);
}

bool Handover::contains_range(PhysRange range) const {
  if (!is_page_range(range)) return false;
  Guard guard(x_mutex);
  return x_radix.contains_range(range);
}

Result<PhysAddr> Handover::alloc_preserve(u64 size_bytes) {
  might_sleep(x_memory.world);
  if (size_bytes == 0) return Code::Invalid;
  const unsigned order = order_for(size_bytes);
  if (order > max_order) return Code::TooBig;
  TRY_ASSIGN(const PhysAddr address, x_memory.buddy.allocate_zeroed(order));
  const Status preserved = preserve(Block{address, order});
  if (preserved.ok()) return address;
  x_memory.buddy.release(address, order);
  return preserved.error();
}

void Handover::unpreserve_free(PhysAddr address, u64 size_bytes) {
  const unsigned order = order_for(size_bytes);
  unpreserve(Block{address, order});
  x_memory.buddy.release(address, order);
}

Status Handover::write_root(std::string_view add, PhysAddr add_blob, std::string_view leave_out) {
  FdtWriter fdt(std::span(x_memory.map.bytes(x_spare), page_size_bytes));
  fdt.string("compatible", abi::kho::compatible);
  fdt.number(abi::kho::memory_map_property.data(), x_radix.root().value);
  if (fdt_check_header(root_fdt()) == 0) {
    for (int node = fdt_first_subnode(root_fdt(), 0); node >= 0; node = fdt_next_subnode(root_fdt(), node)) {
      const std::string_view name = fdt_get_name(root_fdt(), node, nullptr);
      TRY_ASSIGN(const u64 blob, read_fdt_number(root_fdt(), node, abi::kho::subtree_property));
      if (name != leave_out) write_subtree(fdt, name, PhysAddr(blob));
    }
  }
  if (!add.empty()) write_subtree(fdt, add, add_blob);
  TRY(fdt.finish());
  std::memcpy(x_memory.map.bytes(x_root), x_memory.map.bytes(x_spare), page_size_bytes);
  return {};
}

Status Handover::add_subtree(std::string_view name, PhysAddr blob) {
  might_sleep(x_memory.world);
  if (!is_subtree_name(name)) return Code::Invalid;
  Guard guard(x_mutex);
  if (find_fdt_node(root_fdt(), name) >= 0) return Code::Exists;
  return write_root(name, blob, {});
}

void Handover::remove_subtree(std::string_view name) {
  might_sleep(x_memory.world);
  Guard guard(x_mutex);
  MUST(write_root({}, {}, name), "a root FDT that lost a subtree fits its page");
}

Result<PhysAddr> Handover::find_subtree(std::string_view name) const {
  Guard guard(x_mutex);
  const int node = find_fdt_node(root_fdt(), name);
  if (node < 0) return Code::NotFound;
  TRY_ASSIGN(const u64 blob, read_fdt_number(root_fdt(), node, abi::kho::subtree_property));
  return PhysAddr(blob);
}

holdfast::Handover Handover::numbers() const {
  return {.fdt = x_root.value,
          .fdt_size_bytes = abi::kho::root_fdt_bytes,
          .scratch = x_scratch_page.value,
          .scratch_size_bytes = x_scratch_count * sizeof(abi::kho::ScratchRegion)};
}

u64 Handover::count() const {
  Guard guard(x_mutex);
  return x_radix.count();
}

u64 Handover::node_count() const {
  Guard guard(x_mutex);
  return x_radix.node_count();
}

void Handover::for_each(const Visitor<Block>& visit) const {
  Guard guard(x_mutex);
  x_radix.for_each([&](u64 key) { visit(*radix::block_of(key)); });
}

u64 Handover::state_hash() const {
  Guard guard(x_mutex);
  StateHash hash;
  x_radix.for_each([&](u64 key) { hash.add(key); });
  const auto* words = x_memory.map.at<const u64>(x_root);
  for (u64 i = 0; i < page_size_bytes / sizeof(u64); ++i) hash.add(words[i]);
  return hash.value();
}

}  // namespace holdfast::kho
