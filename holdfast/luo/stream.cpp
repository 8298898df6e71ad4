// Reading the previous kernel's LUO records: see stream.hpp for the contract.
#include "holdfast/luo/stream.hpp"

#include <cstring>

#include "holdfast/kho/fdt.hpp"

namespace holdfast::luo {

namespace {

/// Only states that say what is wrong leave this module: a missing node or property contradicts the version.
Code as_damage(Code code) { return code == Code::UnknownVersion ? code : Code::Corrupt; }

}  // namespace

bool is_proper_string(const char* field, u64 capacity) {
  return field[0] != '\0' && std::memchr(field, '\0', capacity) != nullptr;
}

std::string_view bounded_text(const char* field, u64 capacity) {
  const void* end = std::memchr(field, '\0', capacity);
  return {field, end == nullptr ? capacity : static_cast<u64>(static_cast<const char*>(end) - field)};
}

Result<IncomingStream> IncomingStream::open(const DirectMap& map, const kho::IncomingMap& incoming) {
  IncomingStream stream(map, incoming);
  const auto tree = incoming.find_subtree(abi::luo::subtree_name);
  if (!tree.ok()) return tree.code() == Code::NotFound ? Code::NoData : Code::Corrupt;
  stream.x_tree = *tree;
  TRY(stream.read_tree(map.bytes(*tree)));
  return stream;
}

Status IncomingStream::read_tree(const std::byte* fdt) {
  if (!kho::is_sound_fdt(fdt, page_size_bytes)) return Code::Corrupt;
  if (!kho::is_fdt_compatible(fdt, 0, abi::luo::compatible)) return Code::UnknownVersion;
  const auto number = kho::read_fdt_number(fdt, 0, abi::luo::number_property);
  if (!number.ok()) return Code::Corrupt;
  x_number = *number;

  const auto sessions = read_part(fdt, abi::luo::session_node, abi::luo::session_compatible,
                                  abi::luo::session_header_property, abi::luo::session_block_order);
  x_sessions.state = as_damage(sessions.code());
  if (sessions.ok()) {
    x_sessions.block = *sessions;
    x_sessions.count = x_map->at<abi::luo::SessionHeader>(sessions->start)->count;
    const bool fits = x_sessions.count <= abi::luo::sessions_per_block(sessions->order);
    x_sessions.state = fits ? Code::Ok : Code::Corrupt;
  }
  const auto flbs = read_part(fdt, abi::luo::flb_node, abi::luo::flb_compatible, abi::luo::flb_header_property,
                              abi::luo::flb_block_order);
  x_flbs.state = as_damage(flbs.code());
  if (flbs.ok()) {
    const auto* header = x_map->at<abi::luo::FlbHeader>(flbs->start);
    x_flbs.block = *flbs;
    x_flbs.count = header->count;
    const bool fits =
        header->count <= abi::luo::flbs_per_block(flbs->order) && header->page_count == u64{1} << flbs->order;
    x_flbs.state = fits ? Code::Ok : Code::Corrupt;
  }
  return {};
}

Result<Block> IncomingStream::read_part(const std::byte* fdt, std::string_view node, std::string_view compatible,
                                        std::string_view property, unsigned smallest_order) const {
  const int at = kho::find_fdt_node(fdt, node);
  if (at < 0) return Code::Corrupt;
  if (!kho::is_fdt_compatible(fdt, at, compatible)) return Code::UnknownVersion;
  TRY_ASSIGN(const u64 address, kho::read_fdt_number(fdt, at, property));
  return find_record_block(PhysAddr(address), smallest_order);
}

Result<Block> IncomingStream::find_record_block(PhysAddr address, unsigned smallest_order) const {
  const auto block = x_incoming->find_block(address);
  if (!block || block->start != address || block->order < smallest_order) return Code::Corrupt;
  // Preserved like the records, but something else.
  for (const PhysAddr other : {x_incoming->root_fdt(), x_incoming->scratch_array(), x_tree, x_sessions.block.start})
    if (address == other) return Code::Corrupt;
  return *block;
}

abi::luo::SessionRecord IncomingStream::session(u64 index) const {
  verify_invariant(x_sessions.state == Code::Ok && index < x_sessions.count, "no such incoming session record");
  return *x_map->at<abi::luo::SessionRecord>(x_sessions.block.start + sizeof(abi::luo::SessionHeader) +
                                             index * sizeof(abi::luo::SessionRecord));
}

Result<Block> IncomingStream::file_block(const abi::luo::FileSet& set) const {
  if (set.count == 0) return Block{};
  TRY_ASSIGN(const Block block, find_record_block(PhysAddr(set.files), abi::luo::file_block_order));
  if (block.start == x_flbs.block.start || set.count > abi::luo::files_per_block(block.order)) return Code::Corrupt;
  return block;
}

abi::luo::FileRecord IncomingStream::file(Block block, u64 index) const {
  verify_invariant(index < abi::luo::files_per_block(block.order), "no such incoming file record");
  return *x_map->at<abi::luo::FileRecord>(block.start + index * sizeof(abi::luo::FileRecord));
}

abi::luo::FlbRecord IncomingStream::flb(u64 index) const {
  verify_invariant(x_flbs.state == Code::Ok && index < x_flbs.count, "no such incoming FLB record");
  return *x_map->at<abi::luo::FlbRecord>(x_flbs.block.start + sizeof(abi::luo::FlbHeader) +
                                         index * sizeof(abi::luo::FlbRecord));
}

Result<u64> IncomingStream::find_flb(std::string_view name) const {
  if (x_flbs.state != Code::Ok) return x_flbs.state;
  Result<u64> found = Code::NotFound;
  for (u64 i = 0; i < x_flbs.count; ++i) {
    const abi::luo::FlbRecord record = flb(i);
    if (bounded_text(record.name, sizeof record.name) != name) continue;
    if (found.ok()) return Code::Corrupt;
    found = record.data;
  }
  return found;
}

Result<u64> early_find_flb(const DirectMap& map, const kho::IncomingMap& incoming, std::string_view name) {
  TRY_ASSIGN(const IncomingStream stream, IncomingStream::open(map, incoming));
  return stream.find_flb(name);
}

}  // namespace holdfast::luo
