// The fake kernel of host_test: main() of the test program when it is started as "holdfast kernel ...", and the ELF
// note that makes the test program an image one can jump to.
#include <dirent.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "host/host_test_machine.hpp"
#include "host/host_world.hpp"
#include "host/run_error.hpp"

namespace host::test {
namespace {

struct alignas(4) Note {
  u32 name_size = 9;
  u32 descriptor_size = 8;
  u32 type = 1;
  char name[12] = "Holdfast";
  char descriptor[8] = "test-v1";
};
[[gnu::section(".note.holdfast"), gnu::used]] constexpr Note note;

constexpr u64 witness = 0x2000;  // physical address: what one generation leaves to the next

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "fake kernel: %s\n", what);
  std::_Exit(1);
}

void expect(bool holds, const char* what) {
  if (!holds) fail(what);
}

/// Nothing but the standard three and the four of the arguments is open.
void expect_only_our_descriptors(const KernelArguments& arguments) {
  std::set<int> expected{
      0, 1, 2, arguments.machine.ram, arguments.machine.registers, arguments.machine.link, arguments.report_fd};
  DIR* directory = ::opendir("/proc/self/fd");
  expect(directory != nullptr, "cannot list descriptors");
  expected.insert(::dirfd(directory));
  while (const dirent* entry = ::readdir(directory))
    if (entry->d_name[0] != '.') expect(expected.contains(std::atoi(entry->d_name)), "a foreign descriptor is open");
  ::closedir(directory);
}

u64& word(HostWorld& world, u64 address) { return *reinterpret_cast<u64*>(world.direct_map() + address); }

void report(HostWorld& world, const KernelArguments& arguments, vmm::Outcome outcome) {
  KernelMessage message;
  message.event = KernelEvent::VmmReport;
  message.generation = arguments.vmm.generation;
  message.report.generation = arguments.vmm.generation;
  message.report.outcome = outcome;
  message.report.devices = 1;
  message.report.device_transfers[0] = word(world, device_counter);
  expect(world.send(message), "the supervisor is gone");
}

/// Reads after writes see their effect, whatever the machine is doing.
void check_registers(HostWorld& world) {
  const u64 start = world.mmio_read(PhysAddr(adder_page + 8), Width::Qword);
  for (u64 i = 1; i <= 1000; ++i) {
    world.mmio_write(PhysAddr(adder_page), Width::Qword, 3);
    if (i % 100 == 0)
      expect(world.mmio_read(PhysAddr(adder_page + 8), Width::Qword) == start + 3 * i, "a write was not in effect");
  }
  expect(world.mmio_read(PhysAddr(0xdead0000), Width::Dword) == 0xffffffff, "an empty address answered");
}

/// What the previous generation left is there, at another address, and what it dropped came back.
void check_memory(HostWorld& world, const KernelArguments& arguments) {
  const u64 generation = arguments.vmm.generation;
  const u64 here = reinterpret_cast<u64>(world.direct_map());
  if (generation != 0) {
    expect(word(world, witness) == 1000 + generation, "RAM did not survive the jump");
    expect(word(world, high_start) == 77, "high RAM did not survive the jump");
    expect(word(world, witness + 8) != here, "RAM is mapped where it was");
    expect(arguments.handover == Handover{0x1000 * generation, 2, 3, 4}, "the handover's numbers changed");
  }
  word(world, witness) = 1000 + generation + 1;
  word(world, witness + 8) = here;
  word(world, high_start) = 77;
}

void mark(HostWorld& world, Phase phase) {
  world.phase(phase,
              {.tables = phase == Phase::AdoptionDone ? 5u : 2u, .blocks = 0, .records = 0, .files = 0, .frames = 0});
}

void jump(HostWorld& world, const KernelArguments& arguments) {
  std::array<std::byte, 64> note_bytes{};
  const Result<u64> length = world.read_next_image_note(note_bytes);
  expect(length.ok() && *length == 8 && std::memcmp(note_bytes.data(), "test-v1", 8) == 0, "the note is not ours");
  mark(world, Phase::FreezeBegin);
  const std::array ranges{PhysRange{PhysAddr(0x10000), 0x3000}, PhysRange{PhysAddr(0x13000), 0x1000},
                          PhysRange{PhysAddr(high_start), 0x1000}};
  const Status prepared = world.prepare_jump(ranges);
  expect(prepared.ok(), "prepare_jump failed");
  world.cancel_jump();
  expect(word(world, high_start) == 77, "cancel_jump did not bring RAM back");
  expect(world.prepare_jump(ranges).ok(), "prepare_jump failed");
  mark(world, Phase::LastConsent);
  mark(world, Phase::CutOffDone);
  mark(world, Phase::JumpBegin);
  const Code reason = world.jump({0x1000 * (u64{arguments.vmm.generation} + 1), 2, 3, 4});
  std::fprintf(stderr, "fake kernel: jump failed with %d\n", static_cast<int>(reason));
  std::_Exit(1);
}

int failed_jump(const KernelArguments& arguments) {
  HostWorld world(arguments, "/etc/passwd");
  std::array<std::byte, 64> note_bytes{};
  expect(world.jump({1, 2, 3, 4}) == Code::NotFound, "a jump without an image did not fail");
  expect(world.read_next_image_note(note_bytes).code() == Code::Invalid, "a text file has a note");
  expect(word(world, 0) == 0, "RAM is not readable after a failed jump");
  expect_only_our_descriptors(arguments);
  report(world, arguments, vmm::Outcome::Finished);
  return 0;
}

int run_update(HostWorld& world, const KernelArguments& arguments) {
  expect_only_our_descriptors(arguments);
  check_registers(world);
  check_memory(world, arguments);
  mark(world, Phase::AdoptionDone);
  mark(world, Phase::LiveBootDone);
  if (arguments.vmm.updates == 0) {
    report(world, arguments, vmm::Outcome::Finished);
    return 0;
  }
  report(world, arguments, vmm::Outcome::Running);
  jump(world, arguments);
  return 1;
}

}  // namespace

int run_fake_kernel(std::span<char* const> words, const char* program) {
  const KernelArguments arguments = parse_kernel_arguments(words);
  const auto script = static_cast<Script>(arguments.vmm.seed);
  if (script == Script::FailedJump) return failed_jump(arguments);
  HostWorld world(arguments, program);
  mark(world, Phase::BootEntry);
  const bool jumped = arguments.vmm.generation != 0;
  if (script == Script::CrashAfterJump && jumped) ::raise(SIGABRT);
  if (script == Script::ExitAfterJump && jumped) return 3;
  if (script == Script::Hang) ::pause();
  if (script == Script::KillMachine) {
    world.mmio_write(PhysAddr(deadly_register), Width::Dword, 1);
    world.mmio_read(PhysAddr(adder_page), Width::Dword);
  }
  if (script == Script::RefusedBoot) {
    KernelMessage message;
    message.event = KernelEvent::BootFailed;
    message.error = 12;
    world.send(message);
    ::pause();
  }
  return run_update(world, arguments);
}

}  // namespace host::test
