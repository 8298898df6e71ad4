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

}  // namespace

const std::vector<Refusal>& refusals() {
  static const std::vector<Refusal> all{
      {"no next image", Status::UpdateRefused, "the next image cannot be used: there is none",
       [](const Bench&, MachineSetup& setup) { setup.next = NextImage::None; }},
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
  const auto start = Clock::now();
  MachineSetup setup = setup_of(bench, name);
  setup.kernel_words = "mode=scalable";
  setup.vmm_words = "hda updates=1 settle_ms=10";
  setup.devices = sound_card();
  setup.time_limit = std::chrono::seconds(20);
  refusal.change(bench, setup);
  Machine machine(bench.binary, setup);
  check_end(machine, bench, outcome, {refusal.status});
  const std::vector<Line> lines = machine.serial().lines();
  outcome.expect("the kernel says why", says(lines, refusal.said), fmt::format("\"{}\"", refusal.said));
  if (!setup.next_image.empty()) std::filesystem::remove(setup.next_image);
  outcome.set_seconds(std::chrono::duration<double>(Clock::now() - start).count());
  return outcome;
}

std::vector<Outcome> run_refusals_scenario(const Bench& bench) {
  std::vector<Outcome> outcomes;
  for (const Refusal& refusal : refusals()) outcomes.push_back(run_refusal(bench, refusal));
  return outcomes;
}

}  // namespace metal_test
