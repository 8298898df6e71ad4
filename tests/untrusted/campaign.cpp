#include "tests/untrusted/campaign.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "sim/walk/handover_map.hpp"

namespace untrusted {
namespace {

constexpr unsigned longest_trial_seconds = 60;
constexpr u64 transfers_between_checks = 64;
constexpr u64 transfers_at_the_end = 512;
constexpr sim::ModelPace at_rest{.transfers_per_step = 0};

circle::Scene scene_of(const Stage& stage) {
  circle::Scene scene;
  scene.mode = stage.mode;
  scene.tables = stage.tables;
  scene.ram_bytes = u64{16} << 20;
  scene.file_bytes = u64{64} << 10;
  scene.mapped_bytes = u64{128} << 10;
  scene.domains = vmm::DomainLayout::Separate;
  scene.updates = 1;
  scene.settle_transfers = 8;
  return scene;
}

void write_all(int fd, const void* from, std::size_t size) {
  const char* at = static_cast<const char*>(from);
  while (size != 0) {
    const ssize_t written = write(fd, at, size);
    if (written <= 0) _exit(3);
    at += written;
    size -= static_cast<std::size_t>(written);
  }
}

std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = read(fd, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  return text;
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) return "it hangs";
  if (WIFSIGNALED(status)) return std::string("killed by signal ") + strsignal(WTERMSIG(status));
  if (WEXITSTATUS(status) != 0) return "exit code " + std::to_string(WEXITSTATUS(status));
  return {};
}

void describe(std::string& text, const char* what, const Step& step) {
  text += std::string(what) + ": ";
  text += step.error == -1 ? "not tried"
          : step.ok()      ? "ok"
                           : std::string(step.call) + " errno " + std::to_string(step.error);
  text += "\n";
}

}  // namespace

bool Trial::clean() const {
  const Recovery& r = seen.recovery;
  bool all = how.empty() && seen.complaints == 0;
  for (const Step& step : {r.session, r.state, r.memory, r.iommufd, r.bystander, r.finish, r.device[0], r.device[1]})
    all = all && step.ok();
  return all;
}

std::string Trial::text() const {
  std::string text = how.empty() ? "" : how + "\n";
  const Recovery& r = seen.recovery;
  describe(text, "session", r.session);
  describe(text, "state file", r.state);
  describe(text, "guest memory", r.memory);
  describe(text, "iommufd", r.iommufd);
  describe(text, "device 0", r.device[0]);
  describe(text, "device 1", r.device[1]);
  describe(text, "bystander", r.bystander);
  describe(text, "finish", r.finish);
  describe(text, "drop", r.drop);
  return text + log;
}

Campaign::Campaign(const Stage& stage) : x_stage(stage), x_circle(scene_of(stage)) {
  const host::Generation first = x_circle.generation();
  if (!first.jumped()) throw std::runtime_error("kernel A did not jump: " + first.text());
  x_handover = x_circle.session.handover();
  keep();
  const Mode mode = stage.mode == "legacy" ? Mode::Legacy : Mode::Scalable;
  x_records = read_records(x_circle.session.machine().ram(), x_handover, mode);
  choose_targets();
  for (u32 i = 0; i <= circle::preserved_devices; ++i) x_at_jump[i] = x_circle.session.machine().counters(i);
}

void Campaign::choose_targets() {
  const sim::GuestRam& ram = x_circle.session.machine().ram();
  x_targets.outside = PhysAddr(ram.end());
  x_targets.registers = sim::unit_address(0);
  for (const Field& field : x_records.fields)
    if (field.name == "memfd.state.position") x_targets.other_record = field.at;
  const sim::walk::HandoverMap map = sim::walk::read_handover(ram, x_handover);
  const auto in_use = [&](PhysAddr page) {
    for (const Block& block : map.preserved)
      if (PhysRange{block.start, block.size_bytes()}.contains(page, 1)) return true;
    for (const auto& ranges : {map.scratch, map.bookkeeping})
      for (const PhysRange& range : ranges)
        if (range.contains(page, 1)) return true;
    return false;
  };
  x_targets.free_page = PhysAddr(ram.end() / 2);
  while (in_use(x_targets.free_page)) x_targets.free_page += page_size_bytes;
}

void Campaign::keep() {
  const sim::GuestRam& ram = x_circle.session.machine().ram();
  const std::byte* start = ram.at(PhysAddr(0), ram.end());
  if (start == nullptr) throw std::runtime_error("RAM is not in one piece");
  x_kept.assign(start, start + ram.end());
}

void Campaign::put_back() {
  std::byte* start = x_circle.session.machine().ram().at(PhysAddr(0), x_kept.size());
  for (std::size_t at = 0; at < x_kept.size(); at += page_size_bytes)
    if (std::memcmp(start + at, x_kept.data() + at, page_size_bytes) != 0)
      std::memcpy(start + at, x_kept.data() + at, page_size_bytes);
}

std::string Campaign::bytes_of(const Field& field) const {
  const char* start =
      field.in_numbers ? reinterpret_cast<const char*>(&x_handover) : reinterpret_cast<const char*>(x_kept.data());
  return {start + field.at.value, field.size_bytes};
}

std::vector<Change> Campaign::changes(const Field& field) const {
  return changes_of(field, bytes_of(field), x_targets);
}

void Campaign::apply(const Field& field, const Change& change, Way way) {
  if (field.in_numbers) {
    Handover numbers = x_handover;
    std::memcpy(reinterpret_cast<char*>(&numbers) + field.at.value, change.bytes.data(), change.bytes.size());
    return x_circle.session.set_handover(numbers);
  }
  const Ram ram(x_circle.session.machine().ram());
  std::memcpy(ram.bytes(field.at, field.size_bytes), change.bytes.data(), field.size_bytes);
  if (way == Way::Twinned) std::memcpy(ram.bytes(field.twin, field.size_bytes), change.bytes.data(), field.size_bytes);
  if (way != Way::Raw) field.repair();
}

Trial Campaign::run(const Field* field, const Change* change, Way way) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("no pipe");
  const pid_t pid = fork();
  if (pid < 0) throw std::runtime_error("no child");
  if (pid == 0) {
    close(ends[0]);
    child(field, change, way, ends[1]);
  }
  close(ends[1]);
  const std::string report = read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  put_back();

  Trial trial;
  trial.how = how_it_ended(status);
  if (report.size() >= sizeof(Observation)) {
    std::memcpy(&trial.seen, report.data(), sizeof(Observation));
    trial.log = report.substr(sizeof(Observation));
  } else if (trial.how.empty()) {
    trial.how = "no report";
  }
  if (trial.how.empty() && !trial.seen.returned) trial.how = "panic";
  if (trial.how.empty() && !trial.seen.booted) trial.how = "the kernel does not boot";
  return trial;
}

void Campaign::child(const Field* field, const Change* change, Way way, int report) {
  alarm(longest_trial_seconds);
  try {
    if (field != nullptr) apply(*field, *change, way);
    // What hardware does with its own tables before a kernel can look at them is not the kernel's doing.
    const bool hardware_reads_it = field != nullptr && field->family >= Family::LiveEntries;
    const sim::ModelPace pace = x_circle.session.model().pace();
    if (hardware_reads_it) x_circle.session.model().set_pace(at_rest);
    Observation seen;
    std::string log;
    const host::Generation next = x_circle.session.run([&](host::ModelSession::Context& context) {
      x_circle.session.model().set_pace(pace);
      seen.booted = true;
      observe(context, seen, log);
    });
    seen.returned = next.returned();
    seen.boot_code = static_cast<i32>(next.boot);
    if (!seen.booted || !seen.returned) log = next.text();
    sim::Machine& machine = x_circle.session.machine();
    seen.wild = machine.wild();
    for (std::size_t i = 0; i < machine.unit_count(); ++i) {
      seen.misuses += machine.unit(i).stats().misuses + machine.unit(i).stats().queue_errors;
      seen.disabled += machine.unit(i).stats().translation_disabled;
    }
    write_all(report, &seen, sizeof seen);
    write_all(report, log.data(), log.size());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "trial: %s\n", error.what());
    _exit(2);
  }
  _exit(0);
}

void Campaign::observe(host::ModelSession::Context& context, Observation& seen, std::string& log) {
  sim::Machine& machine = x_circle.session.machine();
  const auto note = [&](sim::EngineCounters DeviceTrace::* when) {
    for (u32 i = 0; i <= circle::preserved_devices; ++i) seen.device[i].*when = machine.counters(i);
  };
  note(&DeviceTrace::booted);
  machine.step(transfers_between_checks);
  note(&DeviceTrace::ran);

  Survivor survivor(context, x_circle.vmm);
  survivor.start_bystander();
  survivor.recover();
  machine.step(transfers_between_checks);
  note(&DeviceTrace::recovered);
  for (u32 i = 0; i < circle::preserved_devices; ++i) {
    const sim::AuditResult audit = machine.audit(i);
    seen.device[i].bad_slots = audit.lost + audit.repeated + audit.wrong + audit.refused;
  }
  survivor.finish_or_drop();
  survivor.fill_memory();
  machine.step(transfers_at_the_end);
  note(&DeviceTrace::ended);

  seen.recovery = survivor.recovery();
  for (const sim::LogLine& line : context.world.log_lines()) {
    if (line.text.find(": fault: ") != std::string::npos) continue;  // a consequence; nothing is named by it
    log += line.text + "\n";
    if (line.level >= LogLevel::Warning) ++seen.complaints;
  }
}

Campaign& campaign(const Stage& stage) {
  static std::map<std::string, std::unique_ptr<Campaign>> all;
  auto& one = all[stage.name()];
  if (!one) one = std::make_unique<Campaign>(stage);
  return *one;
}

}  // namespace untrusted
