// Who takes part in what: all run, some are left behind, some are lost, some fail.
#include "vmm/workload_group.hpp"

#include <gtest/gtest.h>

#include <string>

#include "vmm/test_system.hpp"

namespace vmm {
namespace {

class Lines final : public Console {
 public:
  virtual ~Lines() = default;
  void line(std::string_view text) override { lines.emplace_back(text); }
  std::vector<std::string> lines;
};

class Group : public ::testing::Test {
 protected:
  WorkloadOptions options{.kinds = bit_of(WorkloadKind::Net) | bit_of(WorkloadKind::Hda) | bit_of(WorkloadKind::Edu),
                          .left = bit_of(WorkloadKind::Hda)};
  using Names = std::vector<std::string>;
  static Names preserved(WorkloadGroup& group) {
    Names names;
    EXPECT_TRUE(group.for_each_preserved([&](Assignment& a) {
      names.emplace_back(a.name());
      return true;
    }));
    return names;
  }
  static Names all(WorkloadGroup& group) {
    Names names;
    EXPECT_TRUE(group.for_each([&](Assignment& a) {
      names.emplace_back(a.name());
      return true;
    }));
    return names;
  }

  TestSystem system;
  Lines console;
};

TEST_F(Group, RunsWhatIsLeftUntilTheUpdateAndDoesNotPreserveIt) {
  WorkloadGroup group(system, options, console);
  EXPECT_EQ(all(group), (Names{"net", "hda", "edu"}));
  EXPECT_EQ(preserved(group), (Names{"net", "edu"}));
  group.say_left();
  EXPECT_TRUE(console.lines.empty());
  group.say_ready();
  EXPECT_EQ(console.lines.size(), 3u);
}

TEST_F(Group, GoesOnWithoutWhatWasLeft) {
  options.generation = 1;
  WorkloadGroup group(system, options, console);
  EXPECT_EQ(all(group), (Names{"net", "edu"}));
  EXPECT_EQ(preserved(group), (Names{"net", "edu"}));
  EXPECT_FALSE(group.any(Assignment::Status::Lost)) << "the session can be finished";
  group.say_left();
  EXPECT_EQ(console.lines, (Names{"hf: left workload=hda"}));
  console.lines.clear();
  group.say_totals();
  for (const std::string& line : console.lines) EXPECT_EQ(line.find("workload=hda"), std::string::npos) << line;
  EXPECT_EQ(console.lines.size(), 2u);
}

TEST_F(Group, OffersNoDeviceToWhatWasLeft) {
  constexpr DeviceIdentity sound{.class_code = hw::hda::class_code};
  EXPECT_TRUE(WorkloadGroup(system, options, console).offer_device(sound, TestSystem::device_fd, 1));
  options.generation = 1;
  EXPECT_FALSE(WorkloadGroup(system, options, console).offer_device(sound, TestSystem::device_fd, 1));
}

TEST_F(Group, KeepsThoseThatFailApartFromThoseThatAreLost) {
  WorkloadGroup group(system, options, console);
  group.come_back([](Assignment& a) { return a.name() != "edu"; });
  EXPECT_TRUE(group.any(Assignment::Status::Lost));
  EXPECT_FALSE(group.for_each([](Assignment& a) { return a.name() != "net"; }));
  EXPECT_EQ(all(group), (Names{"hda"}));
  ASSERT_EQ(console.lines.size(), 2u);
  EXPECT_TRUE(console.lines[0].starts_with("hf: lost workload=edu "));
  EXPECT_TRUE(console.lines[1].starts_with("hf: failed workload=net "));
}

}  // namespace
}  // namespace vmm
