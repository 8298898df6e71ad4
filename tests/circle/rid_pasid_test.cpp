// RID_PASID over a whole update: the next kernel takes what stands in each live entry, and what lies is named.
#include <cstring>

#include "tests/circle/circle.hpp"

namespace circle {
namespace {

constexpr u32 chosen = 65;

/// Where hardware finds the context entry of @p device.
PhysAddr context_entry(sim::Machine& machine, u32 device) {
  const sim::DeviceConfig at = machine_config({}).devices[device];
  const PhysAddr root = machine.unit(at.unit).root_table();
  const SourceId id = at.source_id();
  const u64 half = id.devfn() >= 128 ? 8 : 0;
  const u64 table = *machine.ram().load64(root + 16 * u64{id.bus()} + half) & ~u64{0xfff};
  return PhysAddr(table + 32 * (id.devfn() & 127u));
}

u64 rid_pasid_of(sim::Machine& machine, u32 device) {
  return *machine.ram().load64(context_entry(machine, device) + 8);
}

TEST(RidPasid, OfThePredecessorIsKeptByAKernelThatWasToldAnother) {
  Scene scene;
  scene.rid_pasid = chosen;
  Circle circle(scene);
  ASSERT_TRUE(circle.generation().jumped());
  sim::Machine& machine = circle.session.machine();
  for (u32 i = 0; i < preserved_devices; ++i) EXPECT_EQ(rid_pasid_of(machine, i), chosen);

  scene.rid_pasid = 130;
  circle.session.set_command_line(command_line(scene));
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  expect_clean(circle);
  for (u32 i = 0; i < preserved_devices; ++i) EXPECT_EQ(rid_pasid_of(machine, i), chosen) << "its tables are kept";
  EXPECT_EQ(rid_pasid_of(machine, bystander), 130u) << "its tables are new";
}

TEST(RidPasid, BeyondTheDirectoryCostsTheDeviceAndIsNamed) {
  Scene scene;
  scene.rid_pasid = chosen;
  Circle circle(scene);
  ASSERT_TRUE(circle.generation().jumped());
  sim::Machine& machine = circle.session.machine();
  const u64 beyond = 40000;
  std::memcpy(machine.ram().at(context_entry(machine, 0) + 8, sizeof beyond), &beyond, sizeof beyond);
  const host::Generation next = circle.session.run([](host::ModelSession::Context& context) {
    for (int turn = 0; turn < 100; ++turn) context.world.relax();
  });
  ASSERT_TRUE(next.returned()) << next.text();
  ASSERT_EQ(next.boot, Code::Ok) << next.text();
  EXPECT_NE(next.log.find("00:03.0: its RID_PASID lies beyond its PASID directory"), std::string::npos) << next.log;
  EXPECT_EQ(*machine.ram().load64(context_entry(machine, 0)) & 1, 0u) << "blocked";

  const u64 stopped = machine.counters(0).transfers;
  const u64 running = machine.counters(1).transfers;
  machine.step(100);
  EXPECT_EQ(machine.counters(0).transfers, stopped);
  EXPECT_GT(machine.counters(1).transfers, running) << "the other device lives";
  EXPECT_EQ(machine.counters(1).faulted, 0u);
  EXPECT_EQ(machine.wild(), 0u);
}

Scene of_units_that_do_not_report_it() {
  Scene scene;
  scene.rid_pasid = chosen;
  scene.reports_rid_pasid = false;
  scene.rps = "assumed";
  return scene;
}

TEST(RidPasid, CrossesUpdatesOnUnitsThatAreAssumedToKnowIt) {
  Circle circle(of_units_that_do_not_report_it());
  const host::Generation first = circle.generation();
  ASSERT_TRUE(first.jumped()) << first.text();
  EXPECT_EQ(first.log.find("RID_PASID"), std::string::npos) << first.log;
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  expect_clean(circle);
  for (u32 i = 0; i < preserved_devices; ++i) EXPECT_EQ(rid_pasid_of(circle.session.machine(), i), chosen);
}

TEST(RidPasid, OfAUnitThatIsNotAssumedToKnowItCostsTheDevice) {
  Scene scene = of_units_that_do_not_report_it();
  Circle circle(scene);
  ASSERT_TRUE(circle.generation().jumped());
  scene.rps = "reported";
  circle.session.set_command_line(command_line(scene));
  const host::Generation next = circle.session.run([](host::ModelSession::Context& context) {
    for (int turn = 0; turn < 100; ++turn) context.world.relax();
  });
  ASSERT_TRUE(next.returned()) << next.text();
  ASSERT_EQ(next.boot, Code::Ok) << next.text();
  EXPECT_NE(next.log.find("RID_PASID is 0: it knows no other"), std::string::npos) << next.log;
  EXPECT_NE(next.log.find("00:03.0: its unit does not know its RID_PASID"), std::string::npos) << next.log;
  sim::Machine& machine = circle.session.machine();
  for (u32 i = 0; i < preserved_devices; ++i) {
    EXPECT_EQ(*machine.ram().load64(context_entry(machine, i)) & 1, 0u) << "blocked";
    EXPECT_GT(machine.counters(i).faulted, 0u);
  }
  EXPECT_EQ(machine.wild(), 0u);
}

}  // namespace
}  // namespace circle
