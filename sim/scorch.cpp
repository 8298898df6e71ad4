#include "sim/scorch.hpp"

#include <algorithm>

namespace sim {
namespace {

class PageSet {
 public:
  explicit PageSet(u64 end) : x_pages((end + page_size_bytes - 1) / page_size_bytes) {}
  void insert(PhysRange range) {
    if (range.size_bytes == 0) return;
    const u64 first = range.start.value / page_size_bytes;
    const u64 last = (range.start.value + (range.size_bytes - 1)) / page_size_bytes;
    for (u64 page = first; page <= last && page < x_pages.size(); ++page) x_pages[page] = true;
  }
  [[nodiscard]] bool contains(u64 page) const { return x_pages[page]; }

 private:
  std::vector<bool> x_pages;
};

}  // namespace

ScorchResult scorch(const GuestRam& ram, const Handover& handover) {
  ScorchResult result;
  const walk::HandoverMap map = walk::read_handover(ram, handover);
  if (!map.ok()) {
    result.error = map.error;
    return result;
  }
  PageSet kept(ram.end());
  for (const Block& block : map.preserved) kept.insert({block.start, block.size_bytes()});
  for (const PhysRange& range : map.scratch) kept.insert(range);
  for (const PhysRange& range : map.bookkeeping) kept.insert(range);
  for (const MemoryRange& part : ram.memory_map()) {
    const u64 first = part.range.start.value / page_size_bytes;
    const u64 end = (part.range.start + part.range.size_bytes).value / page_size_bytes;
    for (u64 page = first; page < end; ++page) {
      if (part.kind == MemoryKind::Reserved || kept.contains(page)) {
        ++result.kept_pages;
        continue;
      }
      auto* words = reinterpret_cast<u64*>(ram.at(Pfn(page).address(), page_size_bytes));
      std::fill_n(words, page_size_bytes / sizeof(u64), scorch_pattern);
      ++result.scorched_pages;
    }
  }
  return result;
}

}  // namespace sim
