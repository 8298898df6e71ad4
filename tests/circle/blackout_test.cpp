// What the blackout touches does not depend on how much is mapped.
#include "tests/circle/circle.hpp"

namespace circle {
namespace {

struct Blackout {
  TouchCounts touched;
  u64 nanoseconds = 0;  // of the model's clock: the kernel's own acts, counted
};

/// One update over @p mapped_bytes at 4K. The blackout's counts are the old kernel's and the new one's.
Blackout measure(u64 mapped_bytes) {
  Scene scene;
  scene.ram_bytes = u64{96} << 20;
  scene.file_bytes = u64{16} << 20;
  scene.mapped_bytes = mapped_bytes;
  scene.updates = 1;
  scene.settle_transfers = 16;
  scene.stale = StaleUses::Ignored;
  Circle circle(scene);
  circle.run_to_the_end();
  Blackout blackout;
  u64 consent_ns = 0;
  for (const sim::Mark& mark : circle.session.machine().marks()) {
    if (mark.phase == Phase::LastConsent) consent_ns = mark.time_ns;
    if (mark.phase == Phase::JumpBegin) blackout.touched = mark.touched;
    if (mark.phase != Phase::AdoptionDone || consent_ns == 0) continue;
    blackout.nanoseconds = mark.time_ns - consent_ns;
    blackout.touched.tables += mark.touched.tables;
    blackout.touched.blocks += mark.touched.blocks;
    blackout.touched.records += mark.touched.records;
    blackout.touched.files += mark.touched.files;
    blackout.touched.frames += mark.touched.frames;
  }
  return blackout;
}

TEST(Blackout, TouchesTheSameForASmallAndForAHugeMapping) {
  const Blackout small = measure(u64{64} << 20);
  const Blackout huge = measure(u64{4} << 30);
  EXPECT_EQ(small.touched, huge.touched);
  EXPECT_GT(small.touched.tables, 0u);   // root, context and PASID tables
  EXPECT_GT(small.touched.records, 0u);  // units, devices, their attestation
  EXPECT_EQ(small.touched.blocks, 0u);
  EXPECT_EQ(small.touched.frames, 0u);
  const double ratio = static_cast<double>(huge.nanoseconds) / static_cast<double>(small.nanoseconds);
  RecordProperty("blackout_ratio_4GiB_to_64MiB", std::to_string(ratio));
  std::cout << "blackout, 4 GiB to 64 MiB mapped at 4K, in the model's time: " << ratio << "\n";
}

}  // namespace
}  // namespace circle
