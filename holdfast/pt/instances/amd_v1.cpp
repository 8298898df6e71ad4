// Live tables of this format. See engine_create.hpp.
#include "holdfast/pt/amd_v1.hpp"

#include "holdfast/pt/engine_create.hpp"

namespace holdfast::pt {

template Result<Table*> create_table<AmdV1>(Memory&, const TableConfig&, TopObserver*);

}  // namespace holdfast::pt
