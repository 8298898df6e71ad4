#include "tests/page_table_proofs/leaf_model.hpp"

#include <algorithm>
#include <bit>

namespace page_table_proofs {

bool agrees(const Configuration& of, Prot prot, walk::Permissions found) {
  const bool reachable = !allows(prot, Prot::Privileged);
  if (found.read != (reachable && allows(prot, Prot::Read))) return false;
  if (found.write != (reachable && allows(prot, Prot::Write))) return false;
  return !allows(of.kept, Prot::NoExecute) || found.execute == !allows(prot, Prot::NoExecute);
}

auto LeafModel::find(u64 iova) const -> Leaves::const_iterator {
  const auto next = x_leaves.upper_bound(iova);
  if (next == x_leaves.begin()) return x_leaves.end();
  const auto at = std::prev(next);
  return at->second.last_from(at->first) >= iova ? at : x_leaves.end();
}

auto LeafModel::find_in(u64 first, u64 last) const -> Leaves::const_iterator {
  if (const auto at = find(first); at != x_leaves.end()) return at;
  const auto next = x_leaves.lower_bound(first);
  return next != x_leaves.end() && next->first <= last ? next : x_leaves.end();
}

std::optional<u64> LeafModel::first_used(u64 first, u64 last) const {
  const auto at = find_in(first, last);
  if (at == x_leaves.end()) return std::nullopt;
  return std::max(at->first, first);
}

bool LeafModel::says(const Configuration& of, u64 first, u64 last, PhysAddr address, walk::Permissions found) const {
  for (u64 at = first;;) {
    const auto leaf = find(at);
    if (leaf == x_leaves.end()) return false;
    if (leaf->second.address + (at - leaf->first) != address + (at - first)) return false;
    if (!agrees(of, leaf->second.prot, found)) return false;
    const u64 end = leaf->second.last_from(leaf->first);
    if (end >= last) return true;
    at = end + 1;
  }
}

void LeafModel::write(u64 iova) {
  const auto at = find(iova);
  if (at != x_leaves.end()) x_leaves[at->first].dirty = true;
}

u64 LeafModel::unmap(u64 iova, u64 length) {
  u64 done = 0;
  while (done < length) {
    const auto at = x_leaves.find(iova + done);
    if (at == x_leaves.end()) break;
    done += at->second.size();
    x_leaves.erase(at);
  }
  return done;
}

void LeafModel::clean(u64 first, u64 last) {
  const auto begin = find_in(first, last);
  for (auto at = begin; at != x_leaves.end() && at->first <= last; ++at) x_leaves[at->first].dirty = false;
}

bool both_map(const LeafModel& a, const LeafModel& b, u64 first, u64 last) {
  for (auto at = a.find_in(first, last); at != a.leaves().end() && at->first <= last; ++at) {
    const u64 begin = std::max(first, at->first);
    const u64 end = std::min(last, at->second.last_from(at->first));
    if (b.first_used(begin, end)) return true;
  }
  return false;
}

std::vector<std::pair<u64, ModelLeaf>> largest_leaves(const Configuration& of, unsigned levels, u64 iova,
                                                      std::span<const PhysRange> runs, Prot granted, std::size_t most) {
  std::vector<unsigned> sizes;
  for (unsigned level = 0; level < std::min<std::size_t>(levels, of.sizes.size()); ++level)
    sizes.insert(sizes.end(), of.sizes[level].begin(), of.sizes[level].end());
  std::vector<std::pair<u64, ModelLeaf>> all;
  for (std::size_t i = 0; i < runs.size();) {
    PhysRange run = runs[i++];  // with those that happen to continue it
    while (i < runs.size() && runs[i].start == run.start + run.size_bytes) run.size_bytes += runs[i++].size_bytes;
    while (run.size_bytes != 0) {
      unsigned best = 0;
      for (const unsigned size_lg2 : sizes) {
        const u64 size = u64{1} << size_lg2;
        if (size <= run.size_bytes && ((iova | run.start.value) & (size - 1)) == 0) best = std::max(best, size_lg2);
      }
      if (all.size() == most) return all;
      const ModelLeaf leaf{best, run.start, granted, false};
      all.emplace_back(iova, leaf);
      iova += leaf.size();
      run = {run.start + leaf.size(), run.size_bytes - leaf.size()};
    }
  }
  return all;
}

}  // namespace page_table_proofs
