// Live tables of this format. See engine_create.hpp.
#include "holdfast/pt/arm_stage2.hpp"

#include "holdfast/pt/engine_create.hpp"

namespace holdfast::pt {

template Result<Table*> create_table<ArmStage2Granule4K>(Memory&, const TableConfig&, TopObserver*);
template Result<Table*> create_table<ArmStage2Granule16K>(Memory&, const TableConfig&, TopObserver*);
template Result<Table*> create_table<ArmStage2Granule64K>(Memory&, const TableConfig&, TopObserver*);

}  // namespace holdfast::pt
