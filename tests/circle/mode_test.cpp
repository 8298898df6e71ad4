// A kernel that was told another translation mode than its predecessor takes the hardware as it runs.
#include "tests/circle/circle.hpp"

namespace circle {
namespace {

class OtherMode : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(OtherMode, IsForColdBootsOnly) {
  Scene scene;
  scene.mode = GetParam().first;
  Circle circle(scene);
  ASSERT_TRUE(circle.generation().jumped());
  scene.mode = GetParam().second;
  circle.session.set_command_line(command_line(scene));
  const host::Generation second = circle.generation();
  ASSERT_TRUE(second.jumped()) << second.text();
  EXPECT_NE(second.log.find("translation is on in the other mode, which is kept"), std::string::npos) << second.log;
  EXPECT_EQ(second.log.find("quarantined"), std::string::npos) << second.log;
  ASSERT_NO_FATAL_FAILURE(circle.run_to_the_end());
  expect_clean(circle);
  for (std::size_t i = 0; i < circle.session.machine().unit_count(); ++i)
    EXPECT_EQ(circle.session.machine().unit(i).stats().translation_disabled, 0u);
}

INSTANTIATE_TEST_SUITE_P(Circle, OtherMode,
                         testing::Values(std::pair{"legacy", "scalable"}, std::pair{"scalable", "legacy"}),
                         [](const auto& modes) {
                           return std::string(modes.param.first) + "_to_" + modes.param.second;
                         });

}  // namespace
}  // namespace circle
