// HostWorld: the World of a kernel that is a process: RAM is a shared file, registers are a read-only shared page and a
// write ring, the jump is execve.
//
// Physical address a stands at direct_map() + a, at an address of its own in every generation; holes are not
// accessible. Nothing of this process survives the jump but its descriptors to the machine and to the supervisor.
// Threads: as in World; the jump wants the process to itself. Failure: RunError from the constructor only.
#pragma once

#include <atomic>
#include <string>

#include "holdfast/base/locks.hpp"
#include "holdfast/base/world.hpp"
#include "host/kernel_arguments.hpp"
#include "host/machine_process.hpp"
#include "host/message_socket.hpp"
#include "host/shared_memory.hpp"

namespace host {

/// What a kernel process tells the supervisor.
enum class KernelEvent : u32 {
  VmmReport,   // report
  Dump,        // handover: copy RAM now, then answer with any message
  BootFailed,  // error: the kernel could not come up
};

struct KernelMessage {
  KernelEvent event = KernelEvent::VmmReport;
  u32 generation = 0;
  i32 error = 0;  // errno
  u32 reserved = 0;
  Handover handover;
  vmm::Report report;
};

class HostWorld final : public World {
 public:
  /// @p image: path of the image that jump() enters. Takes the descriptors in @p arguments over.
  HostWorld(const KernelArguments& arguments, std::string image);
  ~HostWorld();
  HostWorld(const HostWorld&) = delete;
  HostWorld& operator=(const HostWorld&) = delete;

  [[nodiscard]] const MachineShape& shape() const { return x_link->shape; }
  [[nodiscard]] std::span<const MemoryRange> memory_map() const { return shape().memory_map.span(); }
  /// False when the supervisor is gone.
  bool send(const KernelMessage& message) { return x_supervisor.send_value(message); }

  [[nodiscard]] std::byte* direct_map() const override { return x_direct_map; }
  u64 mmio_read(PhysAddr address, Width width) override;
  void mmio_write(PhysAddr address, Width width, u64 value) override;
  [[nodiscard]] u64 now_ns() override;
  void relax() override;
  void log(LogLevel level, std::string_view message) override;
  [[nodiscard]] ThreadLocks& thread_locks() override;
  [[nodiscard]] const WordKernels& word_kernels() const override;
  void phase(Phase phase, const TouchCounts& touched) override;
  void guest_memory(PhysRange range, GuestMemory what) override;
  Result<u64> read_next_image_note(std::span<std::byte> buffer) override;
  Status prepare_jump(std::span<const PhysRange> ranges) override;
  void cancel_jump() override;
  Code jump(const Handover& handover) override;

 private:
  void map_ram();
  [[nodiscard]] bool map_piece(const Piece& piece);
  [[nodiscard]] const std::byte* find_register(u64 address, u64 size) const;
  [[nodiscard]] bool drop_view(const PhysRange& range);
  void let_supervisor_dump(const Handover& handover);

  KernelArguments x_arguments;
  std::string x_image_path;
  UniqueFd x_image;  // the image that was asked is the one that is entered
  UniqueFd x_ram;
  UniqueFd x_registers_file;
  UniqueFd x_link_file;
  MessageSocket x_supervisor;
  SharedMapping x_link_mapping;
  SharedMapping x_registers;
  MachineLink* x_link;
  u32 x_owner;  // our number on the write ring
  std::atomic<bool> x_pushing{false};
  std::byte* x_direct_map = nullptr;
  u64 x_direct_map_bytes = 0;
};

}  // namespace host
