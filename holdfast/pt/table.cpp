// Making and destroying live tables of any format. See table.hpp.
#include "holdfast/pt/table.hpp"

#include "holdfast/pt/formats.hpp"

namespace holdfast::pt {

template <PageTableFormat F>
Result<Table*> create_table(Memory& memory, const TableConfig& config, TopObserver* observer);  // engine_create.hpp

Result<Table*> Table::create(Memory& memory, const TableConfig& config, TopObserver* observer) {
  return with_format(config.format, [&]<class F>() { return create_table<F>(memory, config, observer); });
}

void Table::destroy(Table* table) {
  if (table != nullptr) table->dispose();
}

}  // namespace holdfast::pt
