#include "tests/untrusted/judge.hpp"

#include <fnmatch.h>

namespace untrusted {
namespace {

constexpr Harmless harmless[] = {
    {"nothing yet", "*", ""},
};

class Verdict {
 public:
  void require(bool holds, const std::string& what) {
    if (!holds && x_wrong.empty()) x_wrong = what;
  }
  [[nodiscard]] const std::string& wrong() const { return x_wrong; }

 private:
  std::string x_wrong;
};

std::string device_name(u32 device) { return "device " + std::to_string(device); }

/// Nothing of the machine is touched by what nobody gave away, whatever the lie.
void judge_safety(Verdict& verdict, const Campaign& campaign, const Trial& trial) {
  verdict.require(trial.how.empty(), trial.how);
  verdict.require(trial.seen.wild == 0, "a device wrote to memory that nobody gave it");
  verdict.require(trial.seen.misuses == 0, "registers or queue were misused");
  verdict.require(trial.seen.disabled == 0, "translation was turned off");
  for (u32 i = 0; i < circle::preserved_devices; ++i) {
    const sim::EngineCounters& now = trial.seen.device[i].ended;
    const sim::EngineCounters& then = campaign.at_jump(i);
    verdict.require(now.lost == then.lost && now.repeated == then.repeated && now.wrong == then.wrong,
                    device_name(i) + " lost, repeated or misread something");
  }
  const DeviceTrace& other = trial.seen.device[circle::bystander];
  verdict.require(trial.seen.recovery.bystander.ok() && other.ended.transfers > other.recovered.transfers,
                  "a device that has nothing to do with it cannot be used");
}

void judge_device(Verdict& verdict, const Campaign& campaign, u32 device, Loss may_lose, const Trial& trial) {
  const DeviceTrace& trace = trial.seen.device[device];
  const std::string name = device_name(device);
  if ((may_lose & loss::stop(device)) == 0) {
    verdict.require(trace.ran.transfers > trace.booted.transfers, name + " does not translate any more");
    verdict.require(trace.recovered.faulted == campaign.at_jump(device).faulted, name + " met faults");
  }
  const bool recovered = trial.seen.recovery.device[device].ok();
  if ((may_lose & (loss::device(device) | loss::memory)) == 0) verdict.require(recovered, name + " does not come back");
  if (!recovered) return;
  verdict.require(trace.recovered.transfers > trace.ran.transfers, name + " stands still on its new domain");
  verdict.require(trace.recovered.faulted == campaign.at_jump(device).faulted, name + " came back, but met faults");
  verdict.require(trace.bad_slots == 0, name + " came back, but its memory is not right");
  // Dropping the session blocks what came with it.
  if (trial.seen.recovery.finish.ok())
    verdict.require(trace.ended.transfers > trace.recovered.transfers && trace.ended.faulted == trace.recovered.faulted,
                    name + " stops when the rest is freed");
}

}  // namespace

std::span<const Harmless> harmless_lies() { return harmless; }

std::string judge_truth(const Campaign& campaign, const Trial& trial) {
  Verdict verdict;
  judge_safety(verdict, campaign, trial);
  for (u32 i = 0; i < circle::preserved_devices; ++i) judge_device(verdict, campaign, i, loss::nothing, trial);
  verdict.require(trial.clean(), "something does not work, or is complained about");
  return verdict.wrong();
}

std::string judge(const Campaign& campaign, const Field& field, const Change& change, Way, const Trial& trial) {
  Verdict verdict;
  judge_safety(verdict, campaign, trial);
  for (u32 i = 0; i < circle::preserved_devices; ++i) judge_device(verdict, campaign, i, field.may_lose, trial);
  if ((field.may_lose & loss::state) == 0)
    verdict.require(trial.seen.recovery.state.ok(), "a file that has nothing to do with it does not come back");

  if (!trial.clean()) {
    verdict.require(trial.seen.complaints != 0, "something is lost and the log says nothing");
    verdict.require(trial.log.find(field.who) != std::string::npos, "the log does not name '" + field.who + "'");
    return verdict.wrong();
  }
  for (const Harmless& known : harmless)
    if (fnmatch(known.field, field.name.c_str(), 0) == 0 && fnmatch(known.change, change.name.c_str(), 0) == 0)
      return verdict.wrong();
  verdict.require(false, "believed without a word");
  return verdict.wrong();
}

}  // namespace untrusted
