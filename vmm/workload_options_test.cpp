#include "vmm/workload_options.hpp"

#include <gtest/gtest.h>

namespace vmm {
namespace {

void expect_refused(std::string_view words, std::string_view bad_word) {
  const ParsedOptions parsed = parse_workload_options(words, 0);
  EXPECT_FALSE(parsed.ok()) << words;
  EXPECT_EQ(parsed.bad_word, bad_word) << words;
}

TEST(WorkloadWords, SayWhatRuns) {
  const ParsedOptions parsed =
      parse_workload_options("  net hda updates=3 frames=20000  replace=5 mapped=64M settle_ms=250", 2);
  ASSERT_TRUE(parsed.ok()) << parsed.why << " " << parsed.bad_word;
  const WorkloadOptions expected{.kinds = bit_of(WorkloadKind::Net) | bit_of(WorkloadKind::Hda),
                                 .updates = 3,
                                 .frames = 20000,
                                 .replace = 5,
                                 .mapped_bytes = u64{64} << 20,
                                 .settle_ns = 250'000'000,
                                 .generation = 2};
  EXPECT_EQ(parsed.options, expected);
}

TEST(WorkloadWords, MayHaveUnitsOfBytesWhereBytesAreMeant) {
  EXPECT_EQ(parse_workload_options("edu mapped=1G", 0).options.mapped_bytes, u64{1} << 30);
  EXPECT_EQ(parse_workload_options("edu mapped=8K", 0).options.mapped_bytes, 8192u);
  EXPECT_EQ(parse_workload_options("edu mapped=4096", 0).options.mapped_bytes, 4096u);
  expect_refused("edu frames=1K", "frames=1K");
}

TEST(WorkloadWords, NameTheWordThatIsWrong) {
  expect_refused("net virtio updates=1", "virtio");
  expect_refused("net net", "net");
  expect_refused("net update=1", "update=1");
  expect_refused("net updates=", "updates=");
  expect_refused("net updates=-1", "updates=-1");
  expect_refused("net updates=10001", "updates=10001");
  expect_refused("net mapped=G", "mapped=G");
  expect_refused("net frames=99999999999999999999999", "frames=99999999999999999999999");
  expect_refused("net mapped=999999999999999999G", "mapped=999999999999999999G");
  expect_refused("net =3", "=3");
  expect_refused("updates=1", "");
  expect_refused("", "");
}

TEST(WorkloadWords, SayWhatIsLeft) {
  const WorkloadOptions options = parse_workload_options("leave=hda net hda nvme leave=nvme", 0).options;
  EXPECT_EQ(options.left, bit_of(WorkloadKind::Hda) | bit_of(WorkloadKind::Nvme));
  EXPECT_TRUE(options.leaves(WorkloadKind::Hda));
  EXPECT_FALSE(options.leaves(WorkloadKind::Net));
  EXPECT_EQ(parse_workload_options("net", 0).options.left, 0u);
  expect_refused("net leave=virtio", "leave=virtio");
  expect_refused("net leave=", "leave=");
  expect_refused("net leave", "leave");
  expect_refused("net leave=net leave=net", "leave=net");
  expect_refused("net leave=hda", "");
}

TEST(WorkloadWords, StandForEachWorkload) {
  for (u32 kind = 0; kind < workload_kinds; ++kind) {
    const auto parsed = parse_workload_options(name_of(static_cast<WorkloadKind>(kind)), 0);
    EXPECT_TRUE(parsed.ok());
    EXPECT_EQ(parsed.options.kinds, 1u << kind);
  }
}

}  // namespace
}  // namespace vmm
