// The jump of the processes world: execve of the image that was asked, with the descriptors to the machine and the
// supervisor, and nothing else.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "host/file_image.hpp"
#include "host/host_world.hpp"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

extern char** environ;

namespace host {
namespace {

constexpr int dump_timeout_ms = 600'000;

/// The Linux errno @p error as a code; Io for one that has no code of ours.
Code code_of(int error) {
  switch (error) {
    case ENOENT: return Code::NotFound;
    case EACCES: return Code::AccessDenied;
    case ENOMEM: return Code::NoMemory;
    case E2BIG: return Code::TooBig;
    case EINVAL: return Code::Invalid;
    default: return Code::Io;
  }
}

/// Every descriptor but the standard three closes at the jump.
void close_everything_on_exec() {
  if (::syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) == 0) return;
  const long limit = ::sysconf(_SC_OPEN_MAX);  // a system older than close_range
  for (int fd = 3; fd < limit; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
}

}  // namespace

Result<u64> HostWorld::read_next_image_note(std::span<std::byte> buffer) {
  UniqueFd image(::open(x_image_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!image.valid()) return Code::NotFound;
  FileImage reader(image.get());
  const Result<u64> length = read_elf_note(reader, "Holdfast", buffer);
  if (length.ok()) x_image = std::move(image);
  return length;
}

Status HostWorld::prepare_jump(std::span<const PhysRange> ranges) {
  PhysRange merged;
  for (const PhysRange& range : ranges) {
    if (merged.start + merged.size_bytes == range.start) {
      merged.size_bytes += range.size_bytes;
      continue;
    }
    if (!drop_view(merged)) return Code::Invalid;
    merged = range;
  }
  return drop_view(merged) ? Status() : Status(Code::Invalid);
}

/// False when the range is not RAM. That the operating system has no room for one more mapping is no failure: the page
/// tables behind the range are dropped all the same, only the addresses stay valid.
bool HostWorld::drop_view(const PhysRange& range) {
  if (range.size_bytes == 0) return true;
  if (range.start.value > x_direct_map_bytes || range.size_bytes > x_direct_map_bytes - range.start.value) return false;
  std::byte* start = x_direct_map + range.start.value;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  if (::mmap(start, range.size_bytes, PROT_NONE, flags, -1, 0) == MAP_FAILED)
    ::madvise(start, range.size_bytes, MADV_DONTNEED);
  return true;
}

void HostWorld::cancel_jump() {
  for (const Piece& piece : shape().ram.span())
    verify_invariant(map_piece(piece), "the machine's RAM cannot be mapped again after a jump that was given up");
}

void HostWorld::let_supervisor_dump(const Handover& handover) {
  KernelMessage message;
  message.event = KernelEvent::Dump;
  message.generation = x_arguments.vmm.generation;
  message.handover = handover;
  u32 answer = 0;
  if (send(message)) x_supervisor.receive_value(answer, dump_timeout_ms);
}

Code HostWorld::jump(const Handover& handover) {
  if (!x_image.valid()) return Code::NotFound;
  if (x_arguments.dump == JumpDump::Yes) let_supervisor_dump(handover);
  x_link->ring.wait_until_taken();

  KernelArguments next = x_arguments;
  next.handover = handover;
  ++next.vmm.generation;
  if (next.vmm.updates != 0) --next.vmm.updates;
  constexpr std::array<std::string_view, 2> first{"holdfast", "kernel"};
  ArgumentWords words(first, next);

  close_everything_on_exec();
  const std::array kept{x_ram.get(), x_registers_file.get(), x_link_file.get(), x_supervisor.fd()};
  for (int fd : kept) ::fcntl(fd, F_SETFD, 0);
  // AT_EMPTY_PATH: the very file whose note was read.
  ::syscall(SYS_execveat, x_image.get(), "", words.argv(), environ, AT_EMPTY_PATH);
  const Code reason = code_of(errno);
  for (int fd : kept) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return reason;
}

}  // namespace host
