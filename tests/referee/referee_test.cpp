// Ten seconds of the table referee. Machines whose QEMU is not there are skipped.
#include "tests/referee/domain.hpp"
#include "tests/referee/machine_test.hpp"

namespace referee {
namespace {

constexpr unsigned domains_per_machine = 30;

class OnRefereeMachine : public OnMachine {};

INSTANTIATE_TEST_SUITE_P(Referee, OnRefereeMachine, testing::ValuesIn(machine_kinds()), name_of);

TEST_P(OnRefereeMachine, RandomDomainsLeadWhereQemuFindsThem) {
  TableMemory memory(machine->ram());
  Score score;
  for (u64 seed = 1; seed <= domains_per_machine; ++seed) score += referee_domain(*machine, memory, seed);
  EXPECT_EQ(score.disagreed, 0u) << testing::PrintToString(score.disagreements);
  EXPECT_GT(score.dmas, 10 * domains_per_machine);
  EXPECT_GT(score.refused, score.dmas / 10);
  EXPECT_LT(score.refused, score.dmas * 9 / 10);
}

}  // namespace
}  // namespace referee
