// The machine in a process of its own: RAM and registers in shared files, units and devices running in real time, also
// while no kernel runs.
//
// Register writes come through the write ring; the process drains it before every batch of steps. Orders come from the
// supervisor over a socket; the process ends when the supervisor does. It never stops for a kernel.
#pragma once

#include <vector>

#include "host/child.hpp"
#include "host/machine_model.hpp"
#include "host/message_socket.hpp"
#include "host/shared_memory.hpp"

namespace host {

/// What a kernel process and the machine process share besides RAM and registers.
struct MachineLink {
  MachineShape shape;
  WriteRing ring;
};

struct MachinePace {
  u64 steps_per_batch = 1;       // between two looks at the ring: a kernel waits that long for a register
  u64 max_steps_per_second = 0;  // 0: as fast as the processor is
};

enum class Order : u32 { Stop, Run, Audit, Mark, Quit };

struct OrderMessage {
  Order order = Order::Audit;
  u32 index = 0;  // of the mark
};

struct AnswerMessage {
  u32 ok = 0;
  u32 marks = 0;  // how many there are
  u64 refused_writes = 0;
  union {
    Mark mark;
    MachineAudit audit;
  };
  AnswerMessage() : audit{} {}
};

/// The descriptors a kernel process needs. They stay owned by the MachineProcess.
struct MachineFds {
  int ram = -1;
  int registers = -1;
  int link = -1;
};

/// The supervisor's handle.
class MachineProcess {
 public:
  /// Returns when the machine is built and its shape can be read. Steps are off until run().
  /// Failure: RunError; the message of the process itself is on stderr.
  MachineProcess(MachineBuilder& builder, const MachinePace& pace);

  [[nodiscard]] MachineFds fds() const { return {x_ram.get(), x_registers.get(), x_link_file.get()}; }
  [[nodiscard]] const MachineShape& shape() const { return link().shape; }
  [[nodiscard]] Child& child() { return x_child; }
  [[nodiscard]] int control_fd() const { return x_control.fd(); }

  // Each throws RunError when the process is gone.
  void run();
  void stop();
  [[nodiscard]] MachineAudit audit();
  [[nodiscard]] std::vector<Mark> marks();
  [[nodiscard]] u64 refused_writes();
  /// Ends the process in an orderly way.
  void quit();

 private:
  [[nodiscard]] MachineLink& link() const { return *reinterpret_cast<MachineLink*>(x_link.bytes().data()); }
  AnswerMessage ask(const OrderMessage& order);
  [[noreturn]] void throw_gone();

  UniqueFd x_ram;
  UniqueFd x_registers;
  UniqueFd x_link_file;
  SharedMapping x_link;
  MessageSocket x_control;
  Child x_child;
};

}  // namespace host
