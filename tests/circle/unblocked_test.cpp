// A unit that never started blocks nothing: while a device behind it may do DMA there is no jump.
#include <cerrno>

#include "tests/circle/circle.hpp"

namespace circle {
namespace {

constexpr u32 behind_dead_unit = 1;
constexpr u64 command_offset = 4;
constexpr u64 bus_master = 4;

void set_command(sim::ModelWorld& world, u64 value) {
  const SourceId id = machine_config({}).devices[behind_dead_unit].source_id();
  world.mmio_write(sim::ecam_start + (u64{id.value} << 12) + command_offset, Width::Word, value);
}

TEST(UnitThatNeverStarted, RefusesTheJumpWhileADeviceBehindItMayDoDma) {
  Circle circle(Scene{});
  circle.session.machine().unit(1).hold_queue(sim::QueueHold::Held);
  i64 refused = 0;
  const host::Generation first = circle.session.run([&](host::ModelSession::Context& context) {
    set_command(context.world, bus_master);
    refused = context.process.reboot_kexec();
    set_command(context.world, 0);
    context.process.reboot_kexec();
  });
  EXPECT_EQ(refused, -EBUSY) << first.text();
  EXPECT_NE(first.log.find("no working unit blocks 0000:01:00.0, and its bus mastering is on"), std::string::npos)
      << first.log;
  ASSERT_TRUE(first.jumped()) << first.text();

  const host::Generation next = circle.session.run([](host::ModelSession::Context&) {});
  ASSERT_TRUE(next.returned()) << next.text();
  EXPECT_EQ(next.boot, Code::Ok) << next.text();
  EXPECT_EQ(circle.session.machine().wild(), 0u);
}

}  // namespace
}  // namespace circle
