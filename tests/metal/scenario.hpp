// A scenario: one thing that live update on bare metal must do, as a run or a few of QEMU.
//
// Threads: one runs a scenario; scenarios do not share anything but the folder of logs, each its own part of it.
#pragma once

#include <functional>

#include "tests/metal/bench.hpp"
#include "tests/metal/feeder.hpp"
#include "tests/metal/jump_watch.hpp"
#include "tests/metal/updates.hpp"

namespace metal_test {

struct Scenario {
  const char* name;
  const char* about;
  std::vector<Outcome> (*run)(const Bench& bench);
};

[[nodiscard]] const std::vector<Scenario>& scenarios();

/// A machine that cannot be run is a failed outcome like any other: the rest of the report does not suffer from it.
[[nodiscard]] std::vector<Outcome> run_scenario(const Scenario& scenario, const Bench& bench);

// One each in scenarios/, named as its file where there is no other reason.
[[nodiscard]] std::vector<Outcome> run_boot_scenario(const Bench& bench);
[[nodiscard]] std::vector<Outcome> run_net_scenario(const Bench& bench);
[[nodiscard]] std::vector<Outcome> run_nvme_scenario(const Bench& bench);
[[nodiscard]] std::vector<Outcome> run_hda_scenario(const Bench& bench);
[[nodiscard]] std::vector<Outcome> run_replace_scenario(const Bench& bench);  // net.cpp
[[nodiscard]] std::vector<Outcome> run_controls_scenario(const Bench& bench);
[[nodiscard]] std::vector<Outcome> run_refusals_scenario(const Bench& bench);
[[nodiscard]] std::vector<Outcome> run_blackout_scenario(const Bench& bench);
[[nodiscard]] std::vector<Outcome> run_chain_scenario(const Bench& bench);   // sound.cpp
[[nodiscard]] std::vector<Outcome> run_stages_scenario(const Bench& bench);  // sound.cpp
[[nodiscard]] std::vector<Outcome> run_edu_scenario(const Bench& bench);
[[nodiscard]] std::vector<Outcome> run_unpreserved_scenario(const Bench& bench);

// What scenarios have in common.

/// Named @p name on @p bench: where its logs go, what it boots. @p part: one of the several runs that it takes.
[[nodiscard]] MachineSetup setup_of(const Bench& bench, const std::string& name, const std::string& part = {});
[[nodiscard]] Outcome outcome_of(const Bench& bench, const std::string& name);

[[nodiscard]] std::vector<std::string> network_card(int wire);
[[nodiscard]] std::vector<std::string> sound_card();
[[nodiscard]] std::vector<std::string> dma_test_device();
/// @p disk is throttled, so that requests are on their way when a jump comes.
[[nodiscard]] std::vector<std::string> nvme_disk(const std::filesystem::path& disk);
/// The register of the network card that counts received descriptors, for metal.watch.
inline constexpr const char* watch_network_card = "metal.watch=8086:10d3:2810";

[[nodiscard]] std::vector<std::string> join(std::vector<std::string> first, const std::vector<std::string>& second);

/// Scalable mode with a RID_PASID that is not 0. QEMU looks at it and does not say so in ECAP.RPS.
inline constexpr u32 rid_pasid = 65;
inline constexpr const char* scalable_mode = "scalable rid_pasid=65 rps=assumed";
/// Every device that is translated in scalable mode, as it was seen from outside.
void check_rid_pasid(const std::optional<Look>& look, Outcome& outcome);

/// Waits for the end and checks what every good run has in common: its status, no panic and no failure on its lines,
/// translation switched on once with the two root pointers of a cold boot, no fault but those of @p unpreserved
/// devices, which must have some.
void check_good_end(Machine& machine, const Bench& bench, Outcome& outcome, const std::set<u16>& unpreserved = {});
/// Waits for the end; checks that it is one of @p expected.
host::Ending check_end(Machine& machine, const Bench& bench, Outcome& outcome, const std::vector<Status>& expected);
/// The first line that is it; a failed check when there is none.
[[nodiscard]] std::optional<Line> find_line(const std::vector<Line>& lines, Outcome& outcome, std::string_view what,
                                            std::string_view workload);
/// Checks that each of these fields of @p line is that number.
void check_fields(const Line& line, Outcome& outcome, const std::vector<std::pair<const char*, u64>>& fields);
/// True when the kernel's log has this text in one of its lines.
[[nodiscard]] bool says(const std::vector<Line>& lines, std::string_view text);

/// @p frames frames at @p rate through @p jumps jumps.
struct NetPlan {
  std::string name = "net scalable";
  std::string mode = scalable_mode;
  u64 frames = 20'000;
  u64 rate = 5'000;
  u64 jumps = 3;
  u64 settle_ms = 500;
  u64 hold_us = 5'000'000;  // ended by the watch
  u64 replacements = 0;     // of every table, in each generation that has one
  std::chrono::seconds time_limit{90};
};
[[nodiscard]] Outcome run_net(const Bench& bench, const NetPlan& plan);

/// A disk under reads and writes over one jump.
[[nodiscard]] Outcome run_nvme(const Bench& bench);

/// Serial logs of runs that count time in instructions.
[[nodiscard]] Outcome run_hda(const Bench& bench);

/// Sound through @p jumps jumps, in tables of a kind.
struct SoundPlan {
  std::string name;
  std::string mode = scalable_mode;
  std::string iommu;  // arguments of QEMU's device; empty: the usual one
  u64 jumps = 2;
  Time time = Time::Real;  // watched from outside at every jump; otherwise not at all
  bool first_stage = false;
  std::chrono::seconds time_limit{90};
};
[[nodiscard]] Outcome run_sound(const Bench& bench, const SoundPlan& plan);
[[nodiscard]] SoundPlan chain_plan(u64 jumps);
[[nodiscard]] SoundPlan first_stage_plan();  // QEMU 10 or newer

/// One transfer of the teaching device under way over every jump. It ends @p in_blackout, or under the next kernel.
[[nodiscard]] Outcome run_edu(const Bench& bench, bool in_blackout);

/// The network card preserved, the sound card beside it not.
[[nodiscard]] Outcome run_unpreserved(const Bench& bench);

/// What became of a device's guest program.
enum class Fate : u8 { GoesOn, Lost, Failed };

/// A control: something is broken on purpose before the jump, and must be seen.
struct Control {
  const char* word;  // of metal.sabotage
  Status status;     // how the run ends
  Fate victim;       // the network card
  Fate neighbour;    // the sound card
  const char* said;  // in the kernel's log; empty: nothing in particular
  bool faults;       // whether the unit refuses requests
  bool in_tables;    // whether somebody who reads the tables from outside sees it before the jump
  u64 enables;       // writes that switch translation on or off
};
[[nodiscard]] const std::vector<Control>& controls();
[[nodiscard]] Outcome run_control(const Bench& bench, const Control& control);

/// A machine or an image that cannot do it: a clear message and a status, never a hang.
struct Refusal {
  const char* name;
  Status status;
  const char* said;
  void (*change)(const Bench& bench, MachineSetup& setup);  // what is wrong with this machine
};
[[nodiscard]] const std::vector<Refusal>& refusals();
[[nodiscard]] Outcome run_refusal(const Bench& bench, const Refusal& refusal);

}  // namespace metal_test
