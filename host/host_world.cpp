// HostWorld: memory, registers, clock, log. The jump is in host_jump.cpp.
#include "host/host_world.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "holdfast/vector/word_kernels.hpp"
#include "host/run_error.hpp"
#include "sim/control.hpp"

namespace host {
namespace {

// Generations stand at different addresses even where the operating system does not randomise them.
constexpr u64 first_direct_map = u64{0x2000} << 32;
constexpr u64 direct_map_stride = u64{8} << 40;
constexpr u64 direct_map_places = 4;
constexpr u64 direct_map_alignment = u64{2} << 20;

constexpr u32 spins_per_yield = 16;

void close_on_exec(int fd) {
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) throw_system_error("a descriptor named in the arguments");
}

u64 file_size(int fd) {
  const off_t end = ::lseek(fd, 0, SEEK_END);
  if (end < 0) throw_system_error("size of a shared file");
  return static_cast<u64>(end);
}

template <class T>
u64 load(const std::byte* at) {
  return __atomic_load_n(reinterpret_cast<const T*>(at), __ATOMIC_ACQUIRE);
}

iovec piece_of(std::string_view text) { return {.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()}; }

}  // namespace

HostWorld::HostWorld(const KernelArguments& arguments, std::string image)
    : x_arguments(arguments),
      x_image_path(std::move(image)),
      x_ram(arguments.machine.ram),
      x_registers_file(arguments.machine.registers),
      x_link_file(arguments.machine.link),
      x_supervisor(UniqueFd(arguments.report_fd)) {
  for (int fd : {x_ram.get(), x_registers_file.get(), x_link_file.get(), x_supervisor.fd()}) close_on_exec(fd);
  if (file_size(x_link_file.get()) < sizeof(MachineLink))
    throw RunError(ExitCode::Internal, "the machine was started by another version of this program");
  x_link_mapping = SharedMapping(x_link_file.get(), sizeof(MachineLink), Access::ReadWrite);
  x_link = reinterpret_cast<MachineLink*>(x_link_mapping.bytes().data());
  x_registers = SharedMapping(x_registers_file.get(), file_size(x_registers_file.get()), Access::ReadOnly);
  x_owner = x_link->ring.take_over();
  map_ram();
}

HostWorld::~HostWorld() {
  if (x_direct_map != nullptr) ::munmap(x_direct_map, x_direct_map_bytes);
}

void HostWorld::map_ram() {
  x_direct_map_bytes = shape().ram_end();
  const u64 place = x_arguments.vmm.generation % direct_map_places;
  void* hint = reinterpret_cast<void*>(first_direct_map + place * direct_map_stride);
  void* area = ::mmap(hint, x_direct_map_bytes + direct_map_alignment, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) throw_system_error("reserving addresses for the machine's RAM");
  auto* start = static_cast<std::byte*>(area);
  const u64 skip = -reinterpret_cast<u64>(start) & (direct_map_alignment - 1);
  if (skip != 0) ::munmap(start, skip);
  if (skip != direct_map_alignment) ::munmap(start + skip + x_direct_map_bytes, direct_map_alignment - skip);
  x_direct_map = start + skip;
  for (const Piece& piece : shape().ram.span())
    if (!map_piece(piece)) throw_system_error("mapping the machine's RAM");
}

bool HostWorld::map_piece(const Piece& piece) {
  return ::mmap(x_direct_map + piece.address, piece.size_bytes, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_FIXED | MAP_NORESERVE, x_ram.get(),
                static_cast<off_t>(piece.file_offset)) != MAP_FAILED;
}

const std::byte* HostWorld::find_register(u64 address, u64 size) const {
  for (const Piece& piece : shape().registers.span()) {
    if (address < piece.address || address - piece.address > piece.size_bytes - size) continue;
    const u64 offset = piece.file_offset + (address - piece.address);
    if (offset > x_registers.bytes().size() - size) return nullptr;
    return x_registers.bytes().data() + offset;
  }
  return nullptr;
}

u64 HostWorld::mmio_read(PhysAddr address, Width width) {
  x_link->ring.wait_until_taken();
  const std::byte* at = find_register(address.value, static_cast<u64>(width));
  if (at == nullptr)
    return ~u64{0} >> (64 - 8 * static_cast<unsigned>(width));  // nobody answers: all ones, as on a bus
  switch (width) {
    case Width::Byte: return load<u8>(at);
    case Width::Word: return load<u16>(at);
    case Width::Dword: return load<u32>(at);
    case Width::Qword: return load<u64>(at);
  }
  return 0;
}

void HostWorld::mmio_write(PhysAddr address, Width width, u64 value) {
  while (x_pushing.exchange(true, std::memory_order_acquire)) relax();  // pairs with the store below
  x_link->ring.push(
      {.address = address.value, .value = value, .owner = x_owner, .width_bytes = static_cast<u32>(width)});
  x_pushing.store(false, std::memory_order_release);
}

u64 HostWorld::now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

const WordKernels& HostWorld::word_kernels() const {
  static const WordKernels& fastest = best_word_kernels();  // not before a table is made: boot is in the blackout
  return fastest;
}

void HostWorld::relax() {
  thread_local u32 turns = 0;
  if (++turns % spins_per_yield == 0)
    ::sched_yield();
  else
    __builtin_ia32_pause();
}

void HostWorld::log(LogLevel level, std::string_view message) {
  if (level < x_arguments.log_level) return;
  std::array<char, 32> name{};
  const int length = std::snprintf(name.data(), name.size(), "kernel %u: ", x_arguments.vmm.generation);
  const std::array parts{piece_of({name.data(), static_cast<std::size_t>(length)}), piece_of(name_of(level)),
                         piece_of(": "), piece_of(message), piece_of("\n")};
  [[maybe_unused]] const ssize_t ignored = ::writev(STDERR_FILENO, parts.data(), static_cast<int>(parts.size()));
}

ThreadLocks& HostWorld::thread_locks() {
  thread_local ThreadLocks locks;
  return locks;
}

void HostWorld::phase(Phase phase, const TouchCounts& touched) {
  const PhysAddr page(shape().control_page);
  sim::control::write_mark([&](u64 offset, Width width, u64 value) { mmio_write(page + offset, width, value); }, phase,
                           touched);
  x_link->ring.wait_until_taken();  // the machine's time stamp is ours
}

void HostWorld::guest_memory(PhysRange range, GuestMemory what) {
  const PhysAddr page(shape().control_page);
  sim::control::write_guest_memory([&](u64 offset, Width width, u64 value) { mmio_write(page + offset, width, value); },
                                   range, what);
}

}  // namespace host
