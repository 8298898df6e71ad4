// Units that stop answering around a jump: what they may still know is not given to anyone else.
#include <gtest/gtest.h>

#include "holdfast/iommu/test_update.hpp"

namespace holdfast::iommu {
namespace {

void finish(Kernel& kernel) {
  kernel.core().records_flb().finish();
  kernel.core().attest_flb().finish();
}

bool says(Kernel& kernel, const std::string& what) {
  for (const auto& line : kernel.world().log_lines)
    if (line.find(what) != std::string::npos) return true;
  return false;
}

bool is_taken(Kernel& kernel, PhysAddr page) { return kernel.memory().frames.find_incoming(page).has_value(); }

class SilentUnit : public testing::TestWithParam<TableMode> {
 protected:
  SilentUnit() : update(u64{32} << 20, {.table_mode = GetParam()}) {
    shared_top = update.shared->top();
    own_top = update.own->top();
    update.jump();
  }
  static std::vector<DeviceIdentity> behind_unit_0() {
    return {identity_of(Update::a), identity_of(Update::b), identity_of(Update::u)};
  }

  Update update;
  PhysAddr shared_top;
  PhysAddr own_top;
};
INSTANTIATE_TEST_SUITE_P(Tables, SilentUnit, testing::Values(TableMode::Arena, TableMode::Page),
                         [](const auto& mode) { return mode.param == TableMode::Arena ? "Arena" : "Page"; });

TEST_P(SilentUnit, ThatCannotBeQuarantinedKeepsEveryRestoredTableTaken) {
  update.machine.units[1].answers = false;
  Kernel& kernel = update.live(behind_unit_0());
  EXPECT_TRUE(update.translates_as_before(Update::a)) << "the other unit is fine";
  finish(kernel);
  EXPECT_TRUE(update.is_blocked(Update::a));
  for (PhysAddr top : {shared_top, own_top}) EXPECT_TRUE(is_taken(kernel, top));
  EXPECT_TRUE(says(kernel, "stay taken: a unit that does not answer may still know them"));
}

TEST_P(SilentUnit, ThatWasQuarantinedKeepsNothing) {
  update.machine.units[1].root = update.old.flb(abi::iommu::compatible);  // not the recorded one
  Kernel& kernel = update.live();
  ASSERT_EQ(kernel.core().adoption_report().units_quarantined, 1u);
  finish(kernel);
  for (PhysAddr top : {shared_top, own_top}) EXPECT_FALSE(is_taken(kernel, top));
  EXPECT_FALSE(says(kernel, "stay taken"));
}

TEST_P(SilentUnit, ThatDoesNotConfirmABlockKeepsIdAndTables) {
  *update.old.memory().map.at<u64>(shared_top) = ~u64{0};
  update.machine.before_memory_opens = [&](Kernel& kernel) {
    update.machine.units[0].dies_in_block = true;
    kernel.core().check_reach();
  };
  Kernel& kernel = update.live();
  EXPECT_EQ(kernel.unit(0).read_entry(Update::a).state, LiveEntry::State::Absent) << "which hardware did not confirm";
  EXPECT_EQ(kernel.unit(0).dids(), std::set<u16>{2});
  EXPECT_EQ(kernel.unit(1).dids_in_use(), 1u) << "the other unit did: only the domain of c has an id there";
  finish(kernel);
  EXPECT_TRUE(is_taken(kernel, shared_top));
  EXPECT_FALSE(is_taken(kernel, own_top));
  EXPECT_TRUE(says(kernel, "it cannot be blocked"));
}

TEST(SilentUnits, AreNamedWhenTheyRefuseAFreeze) {
  Update update;
  update.machine.units[1].answers = false;
  EXPECT_EQ(update.old.core().prepare_freeze(1).code(), Code::TimedOut);
  EXPECT_TRUE(says(update.old, "the live update is refused: unit at fed91000"));
}

}  // namespace
}  // namespace holdfast::iommu
