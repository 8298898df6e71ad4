// One live table of format F under the policy that its configuration asks for. Instantiated once per format, in
// instances/, so that formats compile side by side and a program links those that it names.
#pragma once

#include "holdfast/pt/engine.hpp"

namespace holdfast::pt {

template <PageTableFormat F>
Result<Table*> create_table(Memory& memory, const TableConfig& config, TopObserver* observer) {
  if (config.sharing == Sharing::Shared) return RadixTable<F, Shared>::create(memory, config, observer);
  return RadixTable<F, Exclusive>::create(memory, config, observer);
}

}  // namespace holdfast::pt
