// Proof 2: random sequences of operations, of every format and configuration under both policies, against the model and
// the naive walkers after each step; what fails is shrunk and printed with its seed.
//
//   HOLDFAST_RANDOM_CASES=n   sequences per configuration (more than a day's test runs)
//   RC_PARAMS="seed=n"        the seed, instead of one drawn from the machine
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdlib>
#include <iostream>
#include <sstream>

#include "tests/page_table_proofs/operations.hpp"

namespace page_table_proofs {
namespace {

int cases() {
  const char* wanted = std::getenv("HOLDFAST_RANDOM_CASES");
  return wanted != nullptr ? std::max(1, std::atoi(wanted)) : 3;
}

rc::Gen<std::vector<Operation>> sequences() {
  const auto number = rc::gen::resize(100, rc::gen::inRange<u8>(0, Operation::limit));
  const auto operation = rc::gen::map(rc::gen::container<std::array<u8, Operation::count>>(number),
                                      [](const std::array<u8, Operation::count>& choice) { return Operation{choice}; });
  return rc::gen::resize(100, rc::gen::container<std::vector<Operation>>(operation));
}

class RandomSequences : public testing::TestWithParam<Variant> {
 protected:
  /// Runs @p proof on random sequences.
  template <class F>
  static void prove(int sequences_wanted, F&& proof) {
    rc::detail::TestParams parameters = rc::detail::configuration().testParams;
    parameters.maxSuccess = sequences_wanted;
    const auto property = rc::detail::toProperty([&] {
      const std::vector<Operation> operations = *sequences();
      proof(operations);
    });
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    const rc::detail::TestMetadata about{std::string(test->test_suite_name()) + "/" + test->name(), test->name()};
    const auto result = rc::detail::checkProperty(property, about, parameters);
    if (result.template is<rc::detail::SuccessResult>()) return;
    std::ostringstream out;
    rc::detail::printResultMessage(result, out);
    FAIL() << out.str() << "\nRC_PARAMS=\"seed=" << parameters.seed << "\"";
  }
};

TEST_P(RandomSequences, LeaveWhatTheModelSays) {
  RecordProperty("acceptance", "P1 P2 P3 P5 P15 G2");
  ProofMachine machine;
  prove(cases(), [&](const std::vector<Operation>& operations) {
    ProvedTable table(machine, GetParam(), Watch::Results);
    for (const Operation& operation : operations) apply(table, operation, 300);
    table.finish();
  });
}

TEST_P(RandomSequences, ShowNoThirdPlaceAtAnyStep) {
  ProofMachine machine;
  prove((cases() + 1) / 2, [&](const std::vector<Operation>& operations) {
    ProvedTable table(machine, GetParam(), Watch::EveryStep);
    for (std::size_t i = 0; i < operations.size() && i < 25; ++i) apply(table, operations[i], 24);
    table.finish();
  });
}

INSTANTIATE_TEST_SUITE_P(All, RandomSequences, testing::ValuesIn(all_variants()),
                         [](const auto& variant) { return to_string(variant.param); });

}  // namespace
}  // namespace page_table_proofs
