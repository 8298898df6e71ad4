// The loop of the machine process, and its handle.
#include "host/machine_process.hpp"

#include <sched.h>
#include <time.h>

#include <new>

#include "host/run_error.hpp"

namespace host {
namespace {

constexpr u64 control_period_ns = 500'000;
constexpr u64 idle_sleep_ns = 500'000;
constexpr int start_timeout_ms = 60'000;
constexpr int answer_timeout_ms = 30'000;

u64 monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

/// Runs in the machine process.
class MachineLoop {
 public:
  MachineLoop(MachineModel& model, WriteRing& ring, MessageSocket& control, const MachinePace& pace)
      : x_model(model), x_ring(ring), x_control(control), x_pace(pace) {}

  int run() {
    u64 next_control = 0;
    while (!x_quit) {
      const u32 taken = drain();
      const bool busy = x_running && x_model.step(x_pace.steps_per_batch);
      const u64 now = monotonic_ns();
      if (now >= next_control) {
        take_orders();
        next_control = now + control_period_ns;
      }
      rest(taken, busy, now);
    }
    return 0;
  }

 private:
  u32 drain() {
    return x_ring.drain([this](const RegisterWrite& write) { x_model.write_register(write); });
  }

  /// Leaves the processor to the kernel where both share one, and holds the pace.
  void rest(u32 taken, bool busy, u64 now) {
    if (!busy) {
      if (taken == 0) x_ring.sleep_until_written(idle_sleep_ns);
      return;
    }
    if (taken != 0) ::sched_yield();
    if (x_pace.max_steps_per_second == 0) return;
    const u64 slot_ns = x_pace.steps_per_batch * 1'000'000'000 / x_pace.max_steps_per_second;
    x_next_batch = x_next_batch + slot_ns > now ? x_next_batch + slot_ns : now;
    while (monotonic_ns() < x_next_batch) {
      drain();
      ::sched_yield();
    }
  }

  void take_orders() {
    for (OrderMessage order; !x_quit;) {
      switch (x_control.receive_value(order, 0)) {
        case Received::Nothing: return;
        case Received::PeerGone: x_quit = true; return;
        case Received::Message: x_control.send_value(obey(order));
      }
    }
  }

  AnswerMessage obey(const OrderMessage& order) {
    AnswerMessage answer;
    const std::vector<Mark>& marks = x_model.marks();
    answer.ok = 1;
    answer.marks = static_cast<u32>(marks.size());
    answer.refused_writes = x_ring.refused();
    switch (order.order) {
      case Order::Stop: x_running = false; break;
      case Order::Run: x_running = true; break;
      case Order::Audit: answer.audit = x_model.audit(); break;
      case Order::Mark:
        answer.ok = order.index < marks.size() ? 1 : 0;
        if (answer.ok != 0) answer.mark = marks[order.index];
        break;
      case Order::Quit: x_quit = true; break;
    }
    return answer;
  }

  MachineModel& x_model;
  WriteRing& x_ring;
  MessageSocket& x_control;
  MachinePace x_pace;
  bool x_running = false;
  bool x_quit = false;
  u64 x_next_batch = 0;
};

}  // namespace

MachineProcess::MachineProcess(MachineBuilder& builder, const MachinePace& pace)
    : x_ram(create_shared_file("holdfast-ram", builder.ram_file_bytes())),
      x_registers(create_shared_file("holdfast-registers", builder.register_file_bytes())),
      x_link_file(create_shared_file("holdfast-link", sizeof(MachineLink))),
      x_link(x_link_file.get(), sizeof(MachineLink), Access::ReadWrite) {
  new (x_link.bytes().data()) MachineLink();
  auto [ours, theirs] = MessageSocket::create_pair();
  x_control = std::move(ours);
  const std::array keep{x_ram.get(), x_registers.get(), theirs.fd()};
  x_child = Child::start_body("holdfast-machine", keep, [&] {
    SharedMapping ram(x_ram.get(), builder.ram_file_bytes(), Access::ReadWrite);
    SharedMapping registers(x_registers.get(), builder.register_file_bytes(), Access::ReadWrite);
    forbid_new_writers(x_registers.get());
    std::unique_ptr<MachineModel> model = builder.build(ram.bytes(), registers.bytes(), link().shape);
    AnswerMessage ready;
    ready.ok = 1;
    if (!theirs.send_value(ready)) return 0;
    return MachineLoop(*model, link().ring, theirs, pace).run();
  });
  theirs.close();
  AnswerMessage ready;
  if (x_control.receive_value(ready, start_timeout_ms) != Received::Message) throw_gone();
}

void MachineProcess::throw_gone() {
  std::optional<Ending> ending = x_child.wait(200);
  throw RunError(ExitCode::Internal,
                 "the machine process " + (ending ? ending->text() : std::string("does not answer")),
                 ending && ending->how == Ending::How::Signalled ? "it was killed from outside, or memory ran out"
                                                                 : "see its own message above",
                 "run again; with less --ram if memory is short");
}

AnswerMessage MachineProcess::ask(const OrderMessage& order) {
  AnswerMessage answer;
  if (!x_control.send_value(order) || x_control.receive_value(answer, answer_timeout_ms) != Received::Message)
    throw_gone();
  return answer;
}

void MachineProcess::run() { ask({.order = Order::Run}); }
void MachineProcess::stop() { ask({.order = Order::Stop}); }
MachineAudit MachineProcess::audit() { return ask({.order = Order::Audit}).audit; }
u64 MachineProcess::refused_writes() { return ask({.order = Order::Audit}).refused_writes; }

std::vector<Mark> MachineProcess::marks() {
  std::vector<Mark> marks;
  for (u32 index = 0;; ++index) {
    AnswerMessage answer = ask({.order = Order::Mark, .index = index});
    if (answer.ok == 0) return marks;
    marks.push_back(answer.mark);
  }
}

void MachineProcess::quit() {
  x_control.send_value(OrderMessage{.order = Order::Quit});
  x_child.wait(1000);
  x_child.end();
}

}  // namespace host
