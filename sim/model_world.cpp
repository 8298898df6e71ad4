#include "sim/model_world.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "sim/control.hpp"

namespace sim {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

std::byte* map_ram(int fd, u64 bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (at == MAP_FAILED) fail("cannot map the machine's RAM");
  return static_cast<std::byte*>(at);
}

// The hole below 4 GiB has no RAM: touching it must fault.
void protect_hole(std::byte* base, u64 span_bytes) {
  if (span_bytes > high_ram_start) mprotect(base + low_ram_limit, high_ram_start - low_ram_limit, PROT_NONE);
}

constexpr std::size_t kept_reservations = 8;

}  // namespace

ModelMachine::ModelMachine(MachineConfig config, ModelPace pace)
    : x_span_bytes(ram_span_bytes(config)), x_backing(mmio_backing_bytes(config) / sizeof(u64)), x_pace(pace) {
  x_ram_fd = memfd_create("sim-ram", MFD_CLOEXEC);
  if (x_ram_fd < 0) fail("cannot create the machine's RAM");
  if (ftruncate(x_ram_fd, static_cast<off_t>(x_span_bytes)) != 0) fail("cannot size the machine's RAM");
  x_base = map_ram(x_ram_fd, x_span_bytes);
  protect_hole(x_base, x_span_bytes);
  RamView view{x_base, sim::memory_map(config)};
  x_machine = std::make_unique<Machine>(std::move(config), std::move(view),
                                        std::as_writable_bytes(std::span(x_backing)), [this] { return x_now_ns; });
}

ModelMachine::~ModelMachine() {
  for (std::byte* view : x_kernel_views) munmap(view, x_span_bytes);
  munmap(x_base, x_span_bytes);
  close(x_ram_fd);
}

void ModelMachine::advance(u64 elapsed_ns) {
  x_now_ns += elapsed_ns;
  x_machine->step(x_pace.transfers_per_step);
}

std::byte* ModelMachine::map_for_new_kernel() {
  if (!x_kernel_views.empty()) {
    // Unmapped, but the addresses stay taken, so that a pointer into the old view faults and the new view is elsewhere.
    void* at = mmap(x_kernel_views.back(), x_span_bytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (at == MAP_FAILED) fail("cannot unmap the old kernel's view of RAM");
  }
  std::byte* view = map_ram(x_ram_fd, x_span_bytes);
  protect_hole(view, x_span_bytes);
  x_kernel_views.push_back(view);
  if (x_kernel_views.size() > kept_reservations) {
    munmap(x_kernel_views.front(), x_span_bytes);
    x_kernel_views.erase(x_kernel_views.begin());
  }
  return view;
}

ModelWorld::ModelWorld(ModelMachine& machine, GenerationPlan plan)
    : x_machine(&machine), x_plan(std::move(plan)), x_base(machine.map_for_new_kernel()) {}

BootInfo ModelWorld::boot_info(const Handover& handover, std::string_view command_line) const {
  return {.memory_map = x_machine->memory_map(),
          .own_image = x_plan.own_image,
          .rsdp = rsdp_address,
          .command_line = command_line,
          .handover = handover,
          .image_area_bytes = x_plan.image_area_bytes};
}

std::string ModelWorld::log_text() const {
  std::string text;
  for (const LogLine& line : x_log) text += line.text + "\n";
  return text;
}

u64 ModelWorld::mmio_read(PhysAddr address, Width width) {
  x_machine->advance(x_machine->pace().step_ns);
  return x_machine->machine().mmio_read(address, width);
}

void ModelWorld::mmio_write(PhysAddr address, Width width, u64 value) {
  x_machine->machine().mmio_write(address, width, value);
  x_machine->advance(x_machine->pace().step_ns);
}

void ModelWorld::relax() { x_machine->advance(x_machine->pace().relax_ns); }

void ModelWorld::log(LogLevel level, std::string_view message) { x_log.push_back({level, std::string(message)}); }

void ModelWorld::phase(Phase phase, const TouchCounts& touched) {
  x_phase_steps.push_back({phase, x_steps});
  Machine& machine = x_machine->machine();
  control::write_mark(
      [&](u64 offset, Width width, u64 value) { machine.mmio_write(control_start + offset, width, value); }, phase,
      touched);
}

void ModelWorld::guest_memory(PhysRange range, GuestMemory what) {
  Machine& machine = x_machine->machine();
  control::write_guest_memory(
      [&](u64 offset, Width width, u64 value) { machine.mmio_write(control_start + offset, width, value); }, range,
      what);
}

Result<u64> ModelWorld::read_next_image_note(std::span<std::byte> buffer) {
  if (x_plan.next_image_note.empty()) return Code::NotFound;
  if (x_plan.next_image_note.size() > buffer.size()) return Code::TooBig;
  std::memcpy(buffer.data(), x_plan.next_image_note.data(), x_plan.next_image_note.size());
  return u64{x_plan.next_image_note.size()};
}

Status ModelWorld::prepare_jump(std::span<const PhysRange> ranges) {
  for (const PhysRange& range : ranges) {
    const bool whole_pages = range.start.is_aligned(page_size_bytes) && range.size_bytes % page_size_bytes == 0;
    const bool in_ram = x_machine->machine().ram().at(range.start, range.size_bytes) != nullptr;
    if (!whole_pages || !in_ram) {
      cancel_jump();
      return Code::Invalid;
    }
    if (range.size_bytes != 0 && mprotect(x_base + range.start.value, range.size_bytes, PROT_NONE) != 0) {
      cancel_jump();
      return Code::NoMemory;
    }
  }
  return {};
}

void ModelWorld::cancel_jump() {
  if (mprotect(x_base, x_machine->span_bytes(), PROT_READ | PROT_WRITE) != 0)
    panic("the model could not give a kernel its RAM back");
  protect_hole(x_base, x_machine->span_bytes());
}

Code ModelWorld::jump(const Handover& handover) {
  if (x_plan.fail_jump_with != Code::Ok) return x_plan.fail_jump_with;
  Fiber::leave(Outcome::jumped(handover));
}

void ModelWorld::step() {
  ++x_steps;
  if (x_steps == x_plan.stop_at_step) Fiber::leave(Outcome::stopped());
  x_machine->advance(x_machine->pace().step_ns);
}

bool ModelWorld::may_allocate() {
  ++x_allocations;
  return x_allocations != x_plan.fail_allocation;
}

}  // namespace sim
