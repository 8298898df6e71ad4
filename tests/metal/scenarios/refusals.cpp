// Machines without what it takes, and next images that the running kernel must not jump into: each says what is wrong
// and ends with a status.
#include "tests/metal/image_file.hpp"
#include "tests/metal/scenario.hpp"

namespace metal_test {
namespace {

/// In the folder of the run's neighbour, which the run does not empty.
std::filesystem::path changed_image(const MachineSetup& setup) {
  std::filesystem::create_directories(setup.folder.parent_path());
  return setup.folder.string() + ".image";
}

/// Nothing was lost: sound went on, the transfer that was to cross the jump ended, and one kernel reached the goal of
/// the whole run.
void check_that_devices_went_on(const std::vector<Line>& lines, bool has_sound, Outcome& outcome) {
  constexpr u64 transfers_of_the_run = 6;
  if (const auto refused = find_line(lines, outcome, "refused", ""))
    check_fields(*refused, outcome, {{"generation", 0}});
  if (const auto sound = has_sound ? find_line(lines, outcome, "total", "hda") : std::nullopt) {
    check_fields(*sound, outcome, {{"stale", 0}});
    outcome.expect_more("buffers gone round", sound->number("wraps").value_or(0), 2);
  }
  if (const auto transfers = find_line(lines, outcome, "total", "edu")) {
    check_fields(*transfers, outcome, {{"wrong", 0}});
    outcome.expect_more("transfers", transfers->number("transfers").value_or(0), transfers_of_the_run - 1);
  }
}

}  // namespace

const std::vector<Refusal>& refusals() {
  static const std::vector<Refusal> all{
      {"no next image", Status::UpdateRefused, "the next image cannot be used: there is none",
       [](const Bench&, MachineSetup& setup) {
         setup.next = NextImage::None;
         setup.vmm_words = "edu updates=2";  // alone, or the others give it time to reach its goal before the refusal
       }},
      {"next image too large", Status::UpdateRefused,
       "the next image cannot be used: it does not fit into the place for images in scratch",
       [](const Bench& bench, MachineSetup& setup) {
         setup.next_image = changed_image(setup);
         copy_too_large(bench.image, setup.next_image);
       }},
      {"next image cut off", Status::UpdateRefused,
       "the next image cannot be used: it is shorter than it says, or cannot be read",
       [](const Bench& bench, MachineSetup& setup) {
         setup.next_image = changed_image(setup);
         copy_cut_off(bench.image, setup.next_image);
       }},
      {"next image is text", Status::UpdateRefused,
       "the next image cannot be used: it is not a whole, position-independent x86-64 ELF program with the note",
       [](const Bench&, MachineSetup& setup) {
         setup.next_image = changed_image(setup);
         write_text_in_place_of_image(setup.next_image);
       }},
      {"next image cannot read the state", Status::UpdateRefused, "luo-v1",
       [](const Bench& bench, MachineSetup& setup) {
         setup.next_image = changed_image(setup);
         copy_without_layout(bench.image, setup.next_image, "luo-v1");
       }},
      {"no VT-d", Status::BootFailed, "there is no IOMMU, or it is off",
       [](const Bench&, MachineSetup& setup) { setup.iommu.clear(); }},
      {"39 address bits", Status::ScenarioFailed, "needs_48_address_bits",
       [](const Bench&, MachineSetup& setup) { setup.iommu = "intel-iommu,aw-bits=39,x-scalable-mode=on"; }},
  };
  return all;
}

Outcome run_refusal(const Bench& bench, const Refusal& refusal) {
  const std::string name = std::string("refusal ") + refusal.name;
  Outcome outcome = outcome_of(bench, name);
  MachineSetup setup = setup_of(bench, name);
  setup.kernel_words = fmt::format("mode={}", scalable_mode);
  setup.vmm_words = "hda edu updates=2 settle_ms=10";
  setup.devices = join(sound_card(), dma_test_device());
  setup.time_limit = std::chrono::seconds(20);
  refusal.change(bench, setup);
  Machine machine(bench.binary, setup);
  check_end(machine, bench, outcome, {refusal.status});
  const std::vector<Line> lines = machine.serial().lines();
  outcome.expect("the kernel says why", says(lines, refusal.said), fmt::format("\"{}\"", refusal.said));
  outcome.tell(fmt::format("\"{}\"", refusal.said));
  if (refusal.status == Status::UpdateRefused)
    check_that_devices_went_on(lines, setup.vmm_words.starts_with("hda"), outcome);
  if (!setup.next_image.empty()) std::filesystem::remove(setup.next_image);
  return outcome.ended();
}

std::vector<Outcome> run_refusals_scenario(const Bench& bench) {
  std::vector<Outcome> outcomes;
  for (const Refusal& refusal : refusals()) outcomes.push_back(run_refusal(bench, refusal));
  return outcomes;
}

}  // namespace metal_test
