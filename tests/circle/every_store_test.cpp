// The kernel stops for ever at every point where the rest of the machine can see a difference: before and after each
// hw_store and each register access of the whole circle. The machine runs on.
//
// The model is deterministic: the k-th step of one run is the k-th step of every run of the same scene. Under a
// sanitizer, which makes a run many times slower, only every seventh point is taken.
#include "tests/circle/circle.hpp"

namespace circle {
namespace {

constexpr u64 transfers_after_the_stop = 3000;
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HOLDFAST_UNDER_SANITIZER 1
#endif
#endif
#if defined(HOLDFAST_UNDER_SANITIZER)
constexpr u64 least_stride = 7;
#else
constexpr u64 least_stride = 1;
#endif
/// The circle on a first stage differs in the replacement: every seventh point. Odd: befores and afters, stores and
/// reads.
u64 stride_of(const std::string& scene) { return scene == "first_stage" ? 7 : least_stride; }

Scene small_scene(const std::string& mode) {
  Scene scene;
  scene.mode = mode == "first_stage" ? "scalable" : mode;
  if (mode == "first_stage") scene.stages = sim::Stages::First;
  scene.ram_bytes = u64{16} << 20;
  scene.file_bytes = u64{64} << 10;
  scene.mapped_bytes = u64{128} << 10;
  scene.updates = 1;
  scene.settle_transfers = 8;
  scene.stale = StaleUses::Ignored;
  return scene;
}

/// Steps [first, last] of one generation; where the last consent falls.
struct Span {
  u64 first = 0;
  u64 consent = 0;
  u64 last = 0;
};

sim::GenerationPlan stop_at(u64 step) {
  sim::GenerationPlan plan;
  plan.stop_at_step = step;
  return plan;
}

bool preserved_devices_fault(Circle& circle) {
  for (u32 i = 0; i < preserved_devices; ++i)
    if (circle.session.machine().counters(i).faulted != 0) return true;
  return false;
}

void expect_no_wild_access(Circle& circle) {
  EXPECT_EQ(circle.session.machine().wild(), 0u);
  for (u32 i = 0; i < preserved_devices; ++i) {
    const sim::EngineCounters counters = circle.session.machine().counters(i);
    EXPECT_EQ(counters.lost + counters.repeated + counters.wrong, 0u) << "device " << i;
  }
}

/// The next kernel, after one that stopped: it adopts, or it blocks and says so.
void expect_the_next_boot_adopts_or_blocks(Circle& circle) {
  ++circle.vmm.generation;
  circle.vmm.updates = 0;
  const host::Generation next = circle.generation();
  ASSERT_TRUE(next.returned()) << next.text();
  ASSERT_EQ(next.boot, Code::Ok) << next.text();
  expect_no_wild_access(circle);
  const vmm::Report& last = circle.reports.back();
  if (last.outcome == vmm::Outcome::Finished) {
    EXPECT_EQ(last.audit, vmm::Audit{});
    return;
  }
  EXPECT_NE(next.log.find("blocked"), std::string::npos)
      << "a device was given up without a word: " << last.step << " errno " << last.error << "\n"
      << next.log;
}

class Stopped : public testing::TestWithParam<std::string> {};

TEST_P(Stopped, OldKernelAnywhereFromTheMarkToTheJump) {
  RecordProperty("acceptance", "IV11");
  const Scene scene = small_scene(GetParam());
  Span span;
  {
    Circle circle(scene);
    const host::Generation whole = circle.generation();
    ASSERT_TRUE(whole.jumped()) << whole.text();
    span.last = whole.steps;
    span.first = whole.steps_at(Phase::LiveBootDone);
    span.consent = whole.steps_at(Phase::LastConsent);
  }
  ASSERT_LT(span.first, span.consent);
  ASSERT_LT(span.consent, span.last);
  for (u64 k = span.first; k <= span.last; k += stride_of(GetParam())) {
    SCOPED_TRACE("stopped at step " + std::to_string(k) + " of " + std::to_string(span.last));
    Circle circle(scene);
    const host::Generation stopped = circle.generation(stop_at(k));
    ASSERT_EQ(stopped.outcome.kind, sim::Outcome::Kind::Stopped) << stopped.text();
    circle.session.model().advance(1'000'000);
    circle.session.machine().step(transfers_after_the_stop);
    expect_no_wild_access(circle);
    EXPECT_FALSE(preserved_devices_fault(circle));
    if (k < span.consent) continue;
    circle.session.set_handover(stopped.numbers);
    expect_the_next_boot_adopts_or_blocks(circle);
    if (HasFailure()) return;
  }
}

TEST_P(Stopped, NewKernelAnywhereFromItsEntryToTheFinish) {
  RecordProperty("acceptance", "IV28 R15");
  const Scene scene = small_scene(GetParam());
  Span span;
  {
    Circle circle(scene);
    ASSERT_TRUE(circle.generation().jumped());
    const host::Generation whole = circle.generation();
    ASSERT_TRUE(whole.returned()) << whole.text();
    span = {1, 1, circle.steps_before_finish};
    ASSERT_GT(span.last, span.first);
  }
  for (u64 k = span.first; k <= span.last; k += stride_of(GetParam())) {
    SCOPED_TRACE("stopped at step " + std::to_string(k) + " of " + std::to_string(span.last));
    Circle circle(scene);
    ASSERT_TRUE(circle.generation().jumped());
    const host::Generation stopped = circle.generation(stop_at(k));
    ASSERT_EQ(stopped.outcome.kind, sim::Outcome::Kind::Stopped) << stopped.text();
    circle.session.model().advance(1'000'000);
    circle.session.machine().step(transfers_after_the_stop);
    expect_no_wild_access(circle);
    EXPECT_FALSE(preserved_devices_fault(circle));
    expect_the_next_boot_adopts_or_blocks(circle);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Circle, Stopped, testing::Values("scalable", "legacy", "first_stage"),
                         [](const auto& variant) { return variant.param; });

}  // namespace
}  // namespace circle
