#include "tests/untrusted/judge.hpp"

#include <fnmatch.h>

#include <set>

namespace untrusted {
namespace {

std::set<const Known*>& needed() {
  static std::set<const Known*> all;
  return all;
}

bool is_listed(std::span<const Known> list, const Field& field, const Change& change) {
  bool found = false;
  for (const Known& known : list) {
    if (fnmatch(known.field, field.name.c_str(), 0) != 0 || fnmatch(known.change, change.name.c_str(), 0) != 0)
      continue;
    needed().insert(&known);
    found = true;
  }
  return found;
}

class Verdict {
 public:
  void require(bool holds, const std::string& what) {
    if (!holds && x_wrong.empty()) x_wrong = what;
  }
  [[nodiscard]] const std::string& wrong() const { return x_wrong; }

 private:
  std::string x_wrong;
};

/// @p any: words separated by |.
bool names_one_of(const std::string& log, const std::string& any) {
  if (any.empty()) return true;
  for (std::size_t at = 0; at <= any.size();) {
    const std::size_t end = std::min(any.find('|', at), any.size());
    if (log.find(any.substr(at, end - at)) != std::string::npos) return true;
    at = end + 1;
  }
  return false;
}

std::string device_name(u32 device) { return "device " + std::to_string(device); }

/// What a trial is forgiven.
struct Leniency {
  bool memory_may_run_out = false;
  Loss tables_may_lie_of = loss::nothing;
};

/// Nothing of the machine is touched by what nobody gave away, whatever the lie.
void judge_safety(Verdict& verdict, const Campaign& campaign, const Trial& trial, const Leniency& leniency) {
  verdict.require(trial.how.empty(), trial.how);
  if (leniency.tables_may_lie_of == loss::nothing)
    verdict.require(trial.seen.wild == 0, "a device wrote to memory that nobody gave it");
  verdict.require(trial.seen.misuses == 0, "registers or queue were misused");
  verdict.require(trial.seen.disabled == 0, "translation was turned off");
  for (u32 i = 0; i < circle::preserved_devices; ++i) {
    if ((leniency.tables_may_lie_of & loss::stop(i)) != 0) continue;
    const sim::EngineCounters& now = trial.seen.device[i].ended;
    const sim::EngineCounters& then = campaign.at_jump(i);
    verdict.require(now.lost == then.lost && now.repeated == then.repeated && now.wrong == then.wrong,
                    device_name(i) + " lost, repeated or misread something");
  }
  if (leniency.memory_may_run_out && trial.seen.recovery.bystander.error == to_errno(Code::NoMemory)) return;
  const DeviceTrace& other = trial.seen.device[circle::bystander];
  verdict.require(trial.seen.recovery.bystander.ok() && other.ended.transfers > other.recovered.transfers,
                  "a device that has nothing to do with it cannot be used");
}

void judge_device(Verdict& verdict, const Campaign& campaign, u32 device, Loss may_lose, const Trial& trial,
                  const Leniency& leniency) {
  const DeviceTrace& trace = trial.seen.device[device];
  const std::string name = device_name(device);
  if ((may_lose & loss::stop(device)) == 0) {
    verdict.require(trace.ran.transfers > trace.booted.transfers, name + " does not translate any more");
    verdict.require(trace.recovered.faulted == campaign.at_jump(device).faulted, name + " met faults");
  }
  const bool recovered = trial.seen.recovery.device[device].ok();
  if ((may_lose & (loss::device(device) | loss::memory)) == 0) verdict.require(recovered, name + " does not come back");
  if (!recovered || (leniency.tables_may_lie_of & loss::stop(device)) != 0) return;
  verdict.require(trace.recovered.transfers > trace.ran.transfers, name + " stands still on its new domain");
  verdict.require(trace.recovered.faulted == campaign.at_jump(device).faulted, name + " came back, but met faults");
  verdict.require(trace.bad_slots == 0, name + " came back, but its memory is not right");
  // Dropping the session blocks what came with it.
  if (trial.seen.recovery.finish.ok())
    verdict.require(trace.ended.transfers > trace.recovered.transfers && trace.ended.faulted == trace.recovered.faulted,
                    name + " stops when the rest is freed");
}

}  // namespace

std::string judge_truth(const Campaign& campaign, const Trial& trial) {
  Verdict verdict;
  judge_safety(verdict, campaign, trial, {});
  for (u32 i = 0; i < circle::preserved_devices; ++i) judge_device(verdict, campaign, i, loss::nothing, trial, {});
  verdict.require(trial.clean(), "something does not work, or is complained about");
  return verdict.wrong();
}

bool was_needed(const Known& known) { return needed().contains(&known); }

std::string judge(const Campaign& campaign, const Field& field, const Change& change, Way way, const Trial& trial) {
  Verdict verdict;
  Leniency leniency;
  // A map that claims nearly everything leaves no memory for anybody.
  leniency.memory_may_run_out = field.family == Family::Map && field.may_lose == loss::everything;
  const bool is_sound_table =
      field.family == Family::PageTables && way == Way::Repaired && is_listed(sound_tables(), field, change);
  // In page mode two trees that claim one page are equally good: whose it is cannot be known.
  const bool is_shared_table =
      field.family == Family::PageTables && way == Way::Repaired && campaign.stage().tables == "page";
  if (is_sound_table || is_shared_table) leniency.tables_may_lie_of = field.may_lose;
  const Loss may_lose = is_shared_table ? field.may_lose | loss::devices : field.may_lose;

  judge_safety(verdict, campaign, trial, leniency);
  for (u32 i = 0; i < circle::preserved_devices; ++i) judge_device(verdict, campaign, i, may_lose, trial, leniency);
  if ((may_lose & loss::state) == 0 && leniency.tables_may_lie_of == loss::nothing)
    verdict.require(trial.seen.recovery.state.ok(), "a file that has nothing to do with it does not come back");

  if (trial.clean()) {
    verdict.require(is_sound_table || is_listed(harmless_lies(), field, change), "believed without a word");
    return verdict.wrong();
  }
  if (is_listed(unnamed_lies(), field, change)) return verdict.wrong();
  verdict.require(trial.seen.complaints != 0, "something is lost and the log says nothing");
  verdict.require(is_sound_table || is_shared_table || names_one_of(trial.log, field.who),
                  "the log does not name '" + field.who + "'");
  return verdict.wrong();
}

}  // namespace untrusted
