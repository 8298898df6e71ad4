// Domains of two table formats: which one a new domain gets, where it may go, and what is believed of a recorded one.
#include <gtest/gtest.h>

#include "holdfast/iommu/test_update.hpp"

namespace holdfast::iommu {
namespace {

constexpr TableLimits first_stage{pt::Format::X86FirstStage, 1 << 4 | 1 << 5, 0x201000};
constexpr TableLimits second_stage{pt::Format::VtdSecondStage, 1 << 4, 0x201000};
constexpr SourceId device_a(0, 1, 0);
constexpr SourceId device_c(0x10, 0, 0);

class Stages : public testing::Test {
 protected:
  Stages() {
    for (SourceId id : {device_a, device_c}) kernel.add_device(id);
  }
  Core& core() { return kernel.core(); }
  Device& device(SourceId id) { return kernel.device(id); }

  Machine machine;
  Kernel kernel{machine};
};

TEST_F(Stages, ANewDomainGetsTheFirstTablesOfItsUnit) {
  machine.units[0].limits.tables = {first_stage, second_stage};
  const Domain& first = kernel.new_domain(device(device_a));
  EXPECT_EQ(first.config().format, pt::Format::X86FirstStage);
  EXPECT_EQ(first.config().levels, 4);
  EXPECT_EQ(first.config().iova_bits, 47) << "the lower half of 48 bits";
  machine.units[0].limits.iova_bits = 57;
  EXPECT_EQ(kernel.new_domain(device(device_a)).config().levels, 5);
  EXPECT_EQ(kernel.new_domain(device(device_a)).config().iova_bits, 56);
  machine.units[0].limits.tables = {second_stage, first_stage};
  EXPECT_EQ(kernel.new_domain(device(device_a)).config().format, pt::Format::VtdSecondStage);
}

TEST_F(Stages, ADomainGoesOnlyWhereItsTablesAreWalked) {
  machine.units[0].limits.tables = {first_stage, second_stage};
  Domain& domain = kernel.new_domain(device(device_a));
  EXPECT_EQ(core().attach(device(device_c), domain).code(), Code::Invalid);
  machine.units[1].limits.tables = {second_stage, first_stage};
  EXPECT_TRUE(core().attach(device(device_c), domain).ok());
  EXPECT_EQ(kernel.unit(1).read_entry(device_c).spec.format, pt::Format::X86FirstStage);
}

TEST_F(Stages, OneStageReplacesTheOther) {
  machine.units[0].limits.tables = {second_stage, first_stage};
  Domain& old = kernel.new_domain(device(device_a));
  machine.units[0].limits.tables = {first_stage, second_stage};
  Domain& next = kernel.new_domain(device(device_a));
  ASSERT_TRUE(core().attach(device(device_a), old).ok());
  ASSERT_TRUE(core().attach(device(device_a), next).ok());
  const EntrySpec now = kernel.unit(0).read_entry(device_a).spec;
  EXPECT_EQ(now.format, pt::Format::X86FirstStage);
  EXPECT_EQ(now.top, next.top());
}

TEST(StagesAdopted, TheOrderOfPreferenceIsNotAttested) {
  Update update;
  for (FakeHardware& unit : update.machine.units) unit.limits.tables[1] = {pt::Format::X86FirstStage, 0, 0};
  update.jump();
  for (FakeHardware& unit : update.machine.units) std::swap(unit.limits.tables[0], unit.limits.tables[1]);
  Kernel& kernel = update.live();
  EXPECT_EQ(kernel.core().adoption_report().devices_adopted, Update::preserved().size());
  for (SourceId id : Update::preserved()) EXPECT_TRUE(update.translates_as_before(id));
}

/// The attestation says another format than the live entry, with every checksum right.
TEST(StagesAdopted, AFormatThatTheLiveEntryDoesNotHaveCostsTheDomainAlone) {
  struct Case {
    u32 format;
    u8 iova_bits;
    std::string_view reason;
  };
  for (const Case& one :
       {Case{2, 48, "its width is impossible"}, Case{2, 47, "its hardware entry is not the recorded one"},
        Case{3, 47, "its table format is unknown"}, Case{0, 48, "its table format is unknown"}}) {
    SCOPED_TRACE(testing::Message() << one.format << ' ' << u32{one.iova_bits});
    Update update;
    for (FakeHardware& unit : update.machine.units)
      unit.limits.tables = {second_stage, {pt::Format::X86FirstStage, 1 << 4, 0x201000}};
    update.jump();
    auto& map = update.old.memory().map;
    auto& record = *map.at<abi::iommu::Domain>(update.own_record);
    const auto& header = *map.at<abi::attest::Header>(update.old.flb(abi::attest::compatible));
    auto* attests = map.at<abi::attest::DomainAttest>(PhysAddr(header.domain_array) + sizeof(abi::iommu::ArrayHeader));
    abi::attest::DomainAttest* attest = attests;
    while (attest->record_phys != update.own_record.value) ++attest;
    attest->format = one.format;
    attest->iova_bits = one.iova_bits;
    record.vasz = one.iova_bits;
    attest->record_checksum = abi::checksum_of_all(record);
    attest->checksum = abi::checksum_of(*attest);
    Kernel& kernel = update.live();
    EXPECT_TRUE(update.is_blocked(Update::c));
    for (SourceId id : {Update::a, Update::b, Update::d}) EXPECT_TRUE(update.translates_as_before(id));
    bool said = false;
    for (const std::string& line : kernel.world().log_lines) said = said || line.find(one.reason) != std::string::npos;
    EXPECT_TRUE(said) << one.reason;
  }
}

}  // namespace
}  // namespace holdfast::iommu
