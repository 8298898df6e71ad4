#include "tests/page_table_proofs/operations.hpp"

#include <algorithm>
#include <ostream>

namespace page_table_proofs {

namespace {

/// Draws from an operation's numbers.
class Choices {
 public:
  explicit Choices(const Operation& operation) : x_of(operation) {}
  /// Below @p n.
  u64 one_of(u64 n) { return x_next < Operation::count ? x_of.choice[x_next++] % n : 0; }
  /// True for one number of @p n, never for 0: what shrinks becomes plain.
  bool rarely(u64 n) { return one_of(n) == n - 1; }
  /// Many bits out of one number.
  u64 scatter() { return (one_of(Operation::limit) + 1) * 0x9e37'79b9'7f4a'7c15; }

 private:
  const Operation& x_of;
  std::size_t x_next = 0;
};

/// Both ends of what can be mapped, and a boundary of every level.
u64 anchor(const ProvedTable& table, Choices& choices) {
  const Configuration& of = table.of();
  const std::vector<Span> spans = of.spans();
  const Span& span = spans[choices.one_of(spans.size())];
  std::vector<u64> all{span.first, span.last + 1};
  for (unsigned level = 1; level < of.max_levels; ++level)
    if (of.item_lg2(level) < 63 && u64{1} << of.item_lg2(level) < span.last - span.first)
      all.push_back(span.first + (u64{1} << of.item_lg2(level)));
  return all[choices.one_of(all.size())];
}

unsigned size_lg2(const ProvedTable& table, Choices& choices) {
  const std::vector<unsigned> all = table.of().all_sizes();
  return all[choices.one_of(all.size())];
}

struct Request {
  u64 iova;
  u64 length;
};

/// Around an anchor, in units of some leaf, now and then a page beside it.
Request anywhere(const ProvedTable& table, Choices& choices) {
  const u64 near = anchor(table, choices);
  const u64 unit = u64{1} << size_lg2(table, choices);
  const u64 steps = choices.one_of(12);
  u64 iova = near + unit * (steps % 5) - unit * 2;
  u64 length = unit * (1 + steps / 5);
  const u64 beside = choices.one_of(12);
  if (beside >= 8) iova += table.of().granule() * (beside - 7);
  if (beside % 4 == 3) length += table.of().granule() * (1 + beside / 4);
  return {iova, length};
}

/// A leaf that is mapped, or nothing.
const LeafModel::Leaves::value_type* some_leaf(const ProvedTable& table, Choices& choices) {
  const auto& leaves = table.model().leaves();
  const u64 which = choices.one_of(Operation::limit);
  if (leaves.empty()) return nullptr;
  return &*std::next(leaves.begin(), static_cast<std::ptrdiff_t>(which % leaves.size()));
}

void map(ProvedTable& table, Choices& choices, std::size_t most_leaves) {
  const Configuration& of = table.of();
  Request request = anywhere(table, choices);
  const std::vector<unsigned> sizes = of.all_sizes();
  const u64 how = choices.one_of(8);  // one in two is aligned as the address is, to the largest leaf of all
  const u64 unit = u64{1} << (how < 4 ? sizes.back() : sizes[how % sizes.size()]);
  const u64 limit = low_bits(table.config().phys_bits);
  u64 target = choices.scatter() & limit & ~(unit - 1);
  target = (target | (request.iova & (unit - 1))) & limit & ~(of.granule() - 1);
  const u64 detail = choices.one_of(Operation::limit);
  auto prot = static_cast<Prot>(detail % 64);
  if (detail < 200 || (prot & Prot::ReadWrite) == Prot::None) prot = static_cast<Prot>(1 + detail % 3);
  const Policy policy = detail % 5 == 4 ? Policy::NoGaps : Policy::Merging;
  const Supply supply = detail % 7 == 6 ? Supply::Starved : Supply::Plenty;

  std::vector<PhysRange> runs{{PhysAddr(target), request.length}};
  if (detail % 4 == 3) {  // in two pieces, which may continue each other
    const u64 pages = request.length / of.granule();
    const u64 first = pages / 2 * of.granule();
    const u64 rest = request.length - first;
    const u64 other = detail % 8 == 3 ? target + first : (target ^ unit) & limit & ~(of.granule() - 1);
    if (first != 0) runs = {{PhysAddr(target), first}, {PhysAddr(other), rest}};
  }
  // No more leaves than the test has time for.
  const auto leaves = largest_leaves(of, of.max_levels, request.iova, runs, Prot::None, most_leaves);
  u64 bytes = 0;
  for (const auto& [at, leaf] : leaves) bytes += leaf.size();
  if (bytes < request.length) {
    if (bytes < runs[0].size_bytes) {
      runs.resize(1);
      runs[0].size_bytes = bytes;
    } else if (bytes == runs[0].size_bytes) {
      runs.resize(1);
    } else {
      runs[1].size_bytes = bytes - runs[0].size_bytes;
    }
  }
  table.map(request.iova, runs, prot, policy, supply);
}

void unmap(ProvedTable& table, Choices& choices) {
  const bool exactly = choices.one_of(4) != 0;
  const Policy policy = choices.rarely(4) ? Policy::NoGaps : Policy::Merging;
  const auto* leaf = some_leaf(table, choices);
  if (!exactly || leaf == nullptr) {
    const Request request = anywhere(table, choices);
    return table.unmap(request.iova, request.length, policy);
  }
  const u64 extent = choices.one_of(8);
  u64 length = leaf->second.size() << extent / 2;
  if (extent % 2 == 1) length -= table.of().granule();
  if (length == 0 || length >> extent / 2 != leaf->second.size()) length = leaf->second.size();
  table.unmap(leaf->first, length, policy);
}

void cut(ProvedTable& table, Choices& choices) {
  const Policy policy = choices.rarely(4) ? Policy::NoGaps : Policy::Merging;
  const Supply supply = choices.rarely(7) ? Supply::Starved : Supply::Plenty;
  const auto* leaf = some_leaf(table, choices);
  if (leaf == nullptr || choices.rarely(8)) return table.cut(anywhere(table, choices).iova, policy, supply);
  const u64 granule = table.of().granule();
  const u64 pages = leaf->second.size() / granule;
  const u64 offsets[] = {pages / 2, 1 % pages, pages - 1, pages / 4, choices.scatter() % pages};
  table.cut(leaf->first + granule * offsets[choices.one_of(std::size(offsets))], policy, supply);
}

void read_dirty(ProvedTable& table, Choices& choices) {
  const auto how = static_cast<DirtyRead>(choices.one_of(3));
  const auto bitmap = choices.rarely(5) ? ProvedTable::Bitmap::None : ProvedTable::Bitmap::Wanted;
  const u64 granule = table.of().granule();
  Request request{0, granule};
  const auto* leaf = some_leaf(table, choices);
  const u64 extent = choices.one_of(8);
  if (leaf != nullptr) {
    request = {leaf->first, leaf->second.size()};
    if (extent % 4 == 1) request.length = granule;
    if (extent % 4 == 2 && request.length > granule) request = {request.iova + granule, request.length - granule};
    if (extent >= 4 && request.iova + request.length * 3 > request.iova) request.length *= 3;
  }
  unsigned page_lg2 = table.of().granule_lg2() + (extent % 3 == 0 ? 0 : static_cast<unsigned>(extent));
  while (request.length >> page_lg2 > 1 << 12) ++page_lg2;  // a bitmap of reasonable size
  table.read_dirty(request.iova, request.length, how, page_lg2, bitmap, extent == 7 ? Policy::NoGaps : Policy::Merging);
}

void lookup(ProvedTable& table, Choices& choices) {
  std::vector<u64> iovas;
  while (iovas.size() < 70) {
    const u64 offset = choices.scatter() >> 24;
    if (const auto* leaf = some_leaf(table, choices)) {
      iovas.push_back(leaf->first + offset % leaf->second.size());
      iovas.push_back(leaf->first - 1);
      iovas.push_back(leaf->second.last_from(leaf->first) + 1);
    }
    iovas.push_back(anywhere(table, choices).iova + offset % 4096);
  }
  table.lookup(iovas);
}

void access(ProvedTable& table, Choices& choices) {
  const auto kind = choices.rarely(4) ? walk::Access::Read : walk::Access::Write;
  const auto* leaf = some_leaf(table, choices);
  if (leaf == nullptr) return;
  table.access(leaf->first + choices.scatter() % leaf->second.size(), kind);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Operation& operation) {
  for (const u8 choice : operation.choice) out << unsigned{choice} << ' ';
  return out;
}

void apply(ProvedTable& table, const Operation& operation, std::size_t most_leaves) {
  Choices choices(operation);
  switch (choices.one_of(20)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5: return map(table, choices, most_leaves);
    case 6:
    case 7:
    case 8:
    case 9: return unmap(table, choices);
    case 10:
    case 11:
    case 12: return cut(table, choices);
    case 13:
    case 14: return read_dirty(table, choices);
    case 15: return lookup(table, choices);
    case 16: return table.preserved() ? table.unpreserve() : table.preserve();
    case 17: return table.unpreserve();
    default: return access(table, choices);
  }
}

}  // namespace page_table_proofs
