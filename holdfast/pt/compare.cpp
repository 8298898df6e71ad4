// Comparison of two mappings. See restored_table.hpp.
#include "holdfast/pt/restored_table.hpp"

namespace holdfast::pt {

std::optional<Iova> compare(const Reader& from, const Reader& to) {
  std::optional<Iova> differs;
  from.for_each_leaf([&](Iova first, const Translation& leaf) {
    for (u64 offset = 0; offset < leaf.page_size;) {
      const Iova iova = first + offset;
      const auto other = to.lookup(iova);
      if (!other.ok() || other->address != leaf.address + offset || !allows(other->prot, leaf.prot)) {
        differs = iova;
        return Visit::Stop;
      }
      offset += other->page_size - (iova.value & (other->page_size - 1));
    }
    return Visit::Continue;
  });
  return differs;
}

}  // namespace holdfast::pt
