// One handover, lied about again and again: kernel A runs up to its jump once; each trial is a child process that gets
// a copy of the machine as it stood then, changes one field, boots kernel B on it, and reports what became of
// everything.
//
// RAM is a memfd that children share with the parent, so the parent puts it back after each of them; all the rest of
// the machine is private memory, which fork() copies. A child that crashes, panics, hangs or meets a sanitizer is a
// result. Threads: one. Failure: std::runtime_error when the stage itself cannot be set.
#pragma once

#include "tests/circle/circle.hpp"
#include "tests/untrusted/changes.hpp"
#include "tests/untrusted/survivor.hpp"

namespace untrusted {

struct Stage {
  std::string mode = "scalable";
  std::string tables = "arena";

  [[nodiscard]] std::string name() const { return mode + " mode, " + tables + " tables"; }
  friend void PrintTo(const Stage& stage, std::ostream* to) { *to << stage.name(); }
};

/// What a device did since the jump, up to a moment of the trial.
struct DeviceTrace {
  sim::EngineCounters booted;     // when the kernel had booted
  sim::EngineCounters ran;        // after it ran on for a while
  sim::EngineCounters recovered;  // after the guest took back what it could
  sim::EngineCounters ended;      // after memory was filled and the machine ran on
  u64 bad_slots = 0;              // of its memory, at the end of recovery
};

/// What a child reports. Plain data.
struct Observation {
  bool booted = false;
  bool returned = false;
  i32 boot_code = 0;
  u32 complaints = 0;  // warnings and errors in the log
  u64 wild = 0;
  u64 misuses = 0;   // of registers, and queue errors
  u64 disabled = 0;  // times translation went off
  DeviceTrace device[circle::preserved_devices + 1];
  Recovery recovery;
};

struct Trial {
  std::string how;  // how the child ended, if not well
  Observation seen;
  std::string log;

  [[nodiscard]] bool clean() const;
  [[nodiscard]] std::string text() const;
};

class Campaign {
 public:
  explicit Campaign(const Stage& stage);

  [[nodiscard]] const Stage& stage() const { return x_stage; }
  [[nodiscard]] const RecordMap& records() const { return x_records; }
  [[nodiscard]] const Targets& targets() const { return x_targets; }
  [[nodiscard]] std::vector<Change> changes(const Field& field) const;
  /// Counters of the devices at the jump.
  [[nodiscard]] const sim::EngineCounters& at_jump(u32 device) const { return x_at_jump[device]; }

  /// Nothing is changed when @p field is null.
  Trial run(const Field* field, const Change* change, Way way);

 private:
  void keep();
  void put_back();
  void apply(const Field& field, const Change& change, Way way);
  [[noreturn]] void child(const Field* field, const Change* change, Way way, int report);
  void observe(host::ModelSession::Context& context, Observation& seen, std::string& log);
  [[nodiscard]] std::string bytes_of(const Field& field) const;
  void choose_targets();

  Stage x_stage;
  circle::Circle x_circle;
  Handover x_handover;
  RecordMap x_records;
  Targets x_targets;
  sim::EngineCounters x_at_jump[circle::preserved_devices + 1];
  std::vector<std::byte> x_kept;  // RAM as it stood at the jump
};

/// The one campaign of a stage in this process.
Campaign& campaign(const Stage& stage);

}  // namespace untrusted
