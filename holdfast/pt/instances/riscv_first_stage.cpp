// Live tables of this format. See engine_create.hpp.
#include "holdfast/pt/riscv_first_stage.hpp"

#include "holdfast/pt/engine_create.hpp"

namespace holdfast::pt {

template Result<Table*> create_table<RiscvFirstStage>(Memory&, const TableConfig&, TopObserver*);

}  // namespace holdfast::pt
