// Malformed tables: QEMU, our walker and our verifier answer as the list says.
#include "tests/referee/malformed.hpp"
#include "tests/referee/machine_test.hpp"

namespace referee {
namespace {

class OnMalformedTables : public OnMachine {};

INSTANTIATE_TEST_SUITE_P(Referee, OnMalformedTables, testing::ValuesIn(machine_kinds()), name_of);

TEST(MalformedTables, EveryDifferenceHasItsReason) {
  for (const MalformedRow& row : malformed_rows())
    EXPECT_EQ(row.qemu != row.walker, *row.why != '\0') << row.machines << ": " << row.name;
}

TEST_P(OnMalformedTables, AllAnswerAsListed) {
  MalformedTables tables(*machine);
  unsigned asked = 0;
  for (const MalformedRow& row : malformed_rows()) {
    if (!applies(row, GetParam())) continue;
    ++asked;
    EXPECT_EQ(to_string(tables.judge(row)), to_string(expected_answers(row, GetParam()))) << row.name;
  }
  EXPECT_GT(asked, 10u);
}

}  // namespace
}  // namespace referee
