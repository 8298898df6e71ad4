// Memory runs out at every single allocation of every call, from the first one of the guest to the last consent.
#include "tests/circle/circle.hpp"

namespace circle {
namespace {

/// Makes each call fail at its first allocation, its second, ... until it succeeds. What failed must have said so and
/// changed nothing.
class StarvedSyscalls final : public WatchedSyscalls {
 public:
  StarvedSyscalls(host::ModelSession::Context& context, u64& starved)
      : WatchedSyscalls(context), x_context(context), x_starved(starved) {}

  i64 open(const char* path) override {
    return starve(path, [&] { return LocalSyscalls::open(path); });
  }
  i64 ioctl(i32 fd, u32 command, void* argument) override {
    return starve("ioctl", [&] { return LocalSyscalls::ioctl(fd, command, argument); });
  }
  i64 memfd_create(const char* name) override {
    return starve("memfd_create", [&] { return LocalSyscalls::memfd_create(name); });
  }
  i64 ftruncate(i32 fd, u64 size_bytes) override {
    return starve("ftruncate", [&] { return LocalSyscalls::ftruncate(fd, size_bytes); });
  }
  i64 reboot_kexec() override {
    return starve("reboot", [&] { return LocalSyscalls::reboot_kexec(); });
  }

 private:
  template <class Call>
  i64 starve(const char* name, Call&& call) {
    for (u64 k = 1;; ++k) {
      const u64 before = x_context.kernel.state_hash();
      x_context.world.restart_counting();
      x_context.world.plan().fail_allocation = k;
      const i64 answer = call();
      x_context.world.plan().fail_allocation = 0;
      const bool starved = x_context.world.allocations() >= k;
      if (!starved || answer >= 0) return answer;
      ++x_starved;
      EXPECT_EQ(answer, -to_errno(Code::NoMemory)) << name << " at allocation " << k;
      EXPECT_EQ(x_context.kernel.state_hash(), before) << name << " left something behind at allocation " << k;
      if (testing::Test::HasFailure()) return answer;
    }
  }

  host::ModelSession::Context& x_context;
  u64& x_starved;
};

class NullReporter final : public vmm::Reporter {
 public:
  void report(const vmm::Report& report) override { last = report; }
  vmm::Report last;
};

class Starved : public testing::TestWithParam<std::string> {};

TEST_P(Starved, EveryCallReportsItChangesNothingAndThenSucceeds) {
  RecordProperty("acceptance", "A1 D19 C7 C15 X3 G1 K21 IV31");
  Scene scene;
  scene.tables = GetParam();
  scene.updates = 1;
  scene.file_bytes = u64{1} << 20;  // blocks large enough for the jump to prepare for them
  Circle circle(scene);
  u64 starved = 0;
  NullReporter reporter;
  const host::Generation first = circle.session.run([&](host::ModelSession::Context& context) {
    StarvedSyscalls system(context, starved);
    vmm::run_generation(system, circle.vmm, reporter);
  });
  ASSERT_TRUE(first.jumped()) << reporter.last.step << ": errno " << reporter.last.error << "\n" << first.text();
  EXPECT_GT(starved, 50u);
  ++circle.vmm.generation;
  --circle.vmm.updates;
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  expect_clean(circle);
}

INSTANTIATE_TEST_SUITE_P(Circle, Starved, testing::Values("arena", "page"),
                         [](const auto& variant) { return variant.param; });

}  // namespace
}  // namespace circle
