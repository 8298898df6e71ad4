// Making and destroying live tables of any format. See table.hpp.
#include "holdfast/pt/table.hpp"

#include "holdfast/pt/engine.hpp"
#include "holdfast/pt/formats.hpp"

namespace holdfast::pt {

Result<Table*> Table::create(Memory& memory, const TableConfig& config) {
  return with_format(config.format, [&]<class F>() { return RadixTable<F>::create(memory, config); });
}

void Table::destroy(Table* table) {
  if (table != nullptr) table->dispose();
}

}  // namespace holdfast::pt
