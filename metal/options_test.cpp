#include "metal/options.hpp"

#include <gtest/gtest.h>

#include <string>

namespace metal {
namespace {

TEST(MetalOptions, SplitsTheLineBetweenKernelWorldAndVmm) {
  Options options;
  std::string_view bad;
  ASSERT_TRUE(parse_options("mode=legacy metal.hold_us=500  tables=page metal.watch=8086:10d3:2810 "
                            "metal.sabotage=context -- net hda  updates=3",
                            options, bad)
                  .ok());
  EXPECT_EQ(options.kernel_words(), "mode=legacy tables=page");
  EXPECT_EQ(options.vmm_line, "net hda  updates=3");
  EXPECT_EQ(options.hold_us, 500u);
  EXPECT_EQ(options.watch.vendor, 0x8086);
  EXPECT_EQ(options.watch.device, 0x10d3);
  EXPECT_EQ(options.watch.offset, 0x2810u);
  EXPECT_EQ(options.sabotage, Sabotage::Context);
}

TEST(MetalOptions, AnEmptyLineIsTheDefaults) {
  Options options;
  std::string_view bad;
  ASSERT_TRUE(parse_options("", options, bad).ok());
  EXPECT_TRUE(options.kernel_words().empty());
  EXPECT_TRUE(options.vmm_line.empty());
  EXPECT_EQ(options.sabotage, Sabotage::None);
}

TEST(MetalOptions, AWordThatMeansNothingIsNamed) {
  for (const char* word : {"metal.hold_us=", "metal.hold_us=5x", "metal.hold_us=3600000001", "metal.watch=8086:10d3",
                           "metal.watch=8086:10d3:2811", "metal.watch=18086:10d3:2810", "metal.sabotage=all",
                           "metal.sabotage", "metal.", "metal.x=1"}) {
    Options options;
    std::string_view bad;
    const std::string line = std::string("mode=legacy ") + word + " -- net";
    EXPECT_EQ(parse_options(line, options, bad).code(), Code::Invalid) << word;
    EXPECT_EQ(bad, word);
  }
}

TEST(MetalOptions, ALineThatIsTooLongIsRefused) {
  Options options;
  std::string_view bad;
  EXPECT_TRUE(parse_options(std::string(max_command_line_bytes, 'x'), options, bad).ok());
  EXPECT_EQ(parse_options(std::string(max_command_line_bytes + 1, 'x'), options, bad).code(), Code::Invalid);
}

}  // namespace
}  // namespace metal
