#include "holdfast/vtd/domain_ids.hpp"

#include <bit>

namespace holdfast::vtd {

Result<DomainId> DomainIds::allocate() {
  for (u64 word = 0; word < x_words.size(); ++word) {
    const u64 never = word == 0 ? (u64{1} << first_dynamic) - 1 : 0;
    const u64 taken = x_words[word] | never;
    if (taken == ~u64{0}) continue;
    const u64 id = word * 64 + static_cast<u64>(std::countr_one(taken));
    if (id >= x_count) break;
    x_words[word] |= u64{1} << (id % 64);
    ++x_in_use;
    return DomainId(static_cast<u16>(id));
  }
  return Code::NoSpace;
}

Status DomainIds::reserve(DomainId id) {
  if (!in_range(id)) return Code::OutOfRange;
  if (is_taken(id)) return Code::Exists;
  x_words[id.value / 64] |= u64{1} << (id.value % 64);
  ++x_in_use;
  return {};
}

void DomainIds::release(DomainId id) {
  verify_invariant(is_taken(id), "released a domain id that is not taken");
  x_words[id.value / 64] &= ~(u64{1} << (id.value % 64));
  --x_in_use;
}

void DomainIds::release_all() {
  for (u64& word : x_words) word = 0;
  x_in_use = 0;
}

bool DomainIds::is_taken(DomainId id) const {
  return in_range(id) && (x_words[id.value / 64] >> (id.value % 64) & 1) != 0;
}

}  // namespace holdfast::vtd
