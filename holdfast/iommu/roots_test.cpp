// Root tables: in the handover from bring-up on, and given back by a successor that replaced them.
#include "holdfast/iommu/test_update.hpp"

namespace holdfast::iommu {
namespace {

std::vector<PhysAddr> roots_of(const Machine& machine) {
  std::vector<PhysAddr> roots;
  for (const FakeHardware& unit : machine.units) roots.push_back(unit.root);
  return roots;
}

bool is_free(Kernel& kernel, PhysAddr page) { return kernel.memory().frames.at(page).state == FrameState::Free; }

TEST(Roots, CrossWithNothingPreservedAndAreGivenBack) {
  Machine machine;
  Kernel first(machine);
  const auto old_roots = roots_of(machine);
  for (PhysAddr root : old_roots) EXPECT_TRUE(first.handover().contains({root, 0}));
  const holdfast::Handover numbers = first.jump(1);

  Kernel second(machine, numbers, {});
  EXPECT_EQ(second.core().adoption_report().units_fresh, 2u);
  for (PhysAddr root : roots_of(machine)) EXPECT_TRUE(second.handover().contains({root, 0}));
  for (PhysAddr root : old_roots) EXPECT_FALSE(second.handover().is_incoming({root, 0}));
  second.core().free_replaced_roots();  // once more: nothing happens
}

TEST(Roots, OfAnAdoptedUnitStaysInServiceAndCrossesAgain) {
  Update update;
  const auto roots = roots_of(update.machine);
  Kernel& kernel = update.live();
  EXPECT_EQ(roots_of(update.machine), roots);
  for (PhysAddr root : roots) {
    EXPECT_FALSE(kernel.handover().is_incoming({root, 0}));
    EXPECT_TRUE(kernel.handover().contains({root, 0}));
    EXPECT_FALSE(is_free(kernel, root));
  }
}

TEST(Roots, OfAUnitThatIsNotBelievedIsGivenBackToo) {
  Update update;
  update.jump();
  const auto old_roots = roots_of(update.machine);
  update.machine.units[1].limits.capability ^= 1;  // another unit than the attested one
  Kernel& kernel = update.live();
  EXPECT_EQ(kernel.core().adoption_report().units_quarantined, 1u);
  EXPECT_EQ(update.machine.units[0].root, old_roots[0]);
  EXPECT_NE(update.machine.units[1].root, old_roots[1]);
  EXPECT_FALSE(kernel.handover().is_incoming({old_roots[1], 0}));
  EXPECT_TRUE(kernel.handover().contains({update.machine.units[1].root, 0}));
}

TEST(Roots, APageThatARecordClaimsIsNotGivenBack) {
  Update update;
  update.jump();
  const PhysAddr records = update.old.flb(abi::iommu::compatible);
  update.machine.units[1].root = records;  // hardware walks a page of records: nobody's fault is known
  Kernel& kernel = update.live();
  EXPECT_EQ(kernel.core().adoption_report().units_quarantined, 1u);
  EXPECT_TRUE(kernel.handover().is_incoming({records, 0}));
  kernel.core().records_flb().finish();
  EXPECT_FALSE(kernel.handover().is_incoming({records, 0})) << "it goes with the records";
}

TEST(Roots, APageThatADomainClaimsIsNotGivenBack) {
  for (TableMode mode : {TableMode::Page, TableMode::Arena}) {
    Update update(u64{32} << 20, {.table_mode = mode});
    const PhysAddr top = update.shared->top();
    update.jump();
    update.machine.units[1].root = top;
    Kernel& kernel = update.live();
    EXPECT_EQ(kernel.core().adoption_report().units_quarantined, 1u);
    EXPECT_FALSE(is_free(kernel, top));
    EXPECT_TRUE(kernel.core().find_restored(update.shared_record).ok());
    EXPECT_TRUE(update.translates_as_before(Update::a));
  }
}

TEST(Roots, OfAUnitThatDidNotLetGoStays) {
  Update update;
  update.jump();
  const auto old_roots = roots_of(update.machine);
  update.machine.units[1].answers = false;
  Kernel& kernel = update.live({identity_of(Update::a), identity_of(Update::b), identity_of(Update::u)});
  EXPECT_TRUE(kernel.handover().is_incoming({old_roots[1], 0})) << "hardware may read it for ever";
}

}  // namespace
}  // namespace holdfast::iommu
