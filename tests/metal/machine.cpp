// See machine.hpp.
#include "tests/metal/machine.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <fstream>

#include "host/run_error.hpp"
#include "tests/metal/image_file.hpp"

namespace metal_test {
namespace {

constexpr u64 mib = u64{1} << 20;
constexpr PhysAddr unit_registers{0xfed9'0000};
constexpr u64 root_register_offset = 0x20;
constexpr u64 fault_status_offset = 0x34;
constexpr auto moment = std::chrono::microseconds(200);

host::UniqueFd create_file(const std::filesystem::path& path) {
  host::UniqueFd fd(::open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644));
  if (!fd.valid()) host::throw_system_error("create " + path.string());
  return fd;
}

void write_command(const std::filesystem::path& path, const std::string& program,
                   const std::vector<std::string>& arguments) {
  std::ofstream file(path);
  file << program;
  for (const std::string& argument : arguments) file << " '" << argument << "'";
  file << '\n';
}

struct Pair {
  host::UniqueFd ours;
  host::UniqueFd theirs;
};

Pair connected_sockets() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) host::throw_system_error("socketpair");
  return {host::UniqueFd(ends[0]), host::UniqueFd(ends[1])};
}

Pair pipe_ends() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) host::throw_system_error("pipe2");
  return {host::UniqueFd(ends[0]), host::UniqueFd(ends[1])};
}

}  // namespace

std::vector<std::string> Machine::arguments(int qmp) const {
  std::vector<std::string> line;
  const auto add = [&](std::initializer_list<std::string> more) { line.insert(line.end(), more); };
  add({"-M", "q35,memory-backend=ram", "-m", std::to_string(x_setup.memory_mib)});
  add({"-object", "memory-backend-file,id=ram,share=on,size=" + std::to_string(x_memory.size_bytes()) +
                      ",mem-path=" + qemu::path_of(x_memory.file())});
  add({"-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"});
  add({"-chardev", "socket,id=qmp,fd=" + std::to_string(qmp), "-mon", "chardev=qmp,mode=control"});
  add({"-device", "isa-debug-exit,iobase=0xf4,iosize=4"});
  if (!x_setup.iommu.empty()) add({"-device", x_setup.iommu});
  if (x_setup.time == Time::Instructions)
    add({"-icount", "shift=" + std::to_string(icount_shift) + ",sleep=off", "-rtc", "base=2026-01-01,clock=vm"});
  const std::string next = x_setup.next_image.empty() ? x_setup.image : x_setup.next_image;
  add({"-kernel", x_setup.image});
  if (x_setup.next == NextImage::Module) add({"-initrd", next});
  if (x_setup.next == NextImage::FwCfg) add({"-fw_cfg", "name=opt/holdfast/next-image,file=" + next});
  const std::string separator = x_setup.vmm_words.empty() ? "" : " -- ";
  add({"-append", x_setup.kernel_words + separator + x_setup.vmm_words});
  for (const char* event : traced_events) add({"-trace", event});
  add({"-D", x_setup.folder / "trace.txt", "-msg", "timestamp=on"});
  line.insert(line.end(), x_setup.devices.begin(), x_setup.devices.end());
  return line;
}

Machine::Machine(const qemu::Binary& binary, const MachineSetup& setup)
    : x_setup(setup),
      x_deadline(Clock::now() + setup.time_limit),
      x_memory(setup.memory_mib * mib),
      x_first_image(loaded_range(setup.image)) {
  std::filesystem::remove_all(setup.folder);
  std::filesystem::create_directories(setup.folder);
  x_errors = create_file(setup.folder / "qemu.txt");
  create_file(setup.folder / "trace.txt");  // QEMU makes none when nothing happens
  Pair qmp = connected_sockets();
  Pair serial = pipe_ends();
  x_qmp = std::make_unique<Qmp>(std::move(qmp.ours));
  const auto line = arguments(qmp.theirs.get());
  write_command(setup.folder / "command.txt", binary.path, line);

  std::vector<int> keep{x_memory.file(), qmp.theirs.get()};
  keep.insert(keep.end(), setup.inherited.begin(), setup.inherited.end());
  x_child = qemu::start(binary, line, keep, {serial.theirs.get(), x_errors.get()});
  serial.theirs.reset();
  x_serial = std::make_unique<SerialLog>(std::move(serial.ours), create_file(setup.folder / "serial.txt"));
}

Machine::~Machine() { x_child.end(); }

bool Machine::wait_for_hold(u64 jump, u32 hold) {
  // The kernel writes while we read: one word at a time, and only what is alone in its meaning.
  const auto* page = reinterpret_cast<const metal::BootPage*>(x_memory.bytes().data() + metal::boot_page_address.value);
  while (Clock::now() < x_deadline && !has_ended()) {
    const u64 jumps = __atomic_load_n(&page->jumps, __ATOMIC_ACQUIRE);
    const u32 holding = __atomic_load_n(&page->holding, __ATOMIC_ACQUIRE);
    if (jumps == jump && holding == hold) return true;
    if (jumps > jump || (jumps == jump && holding > hold)) return false;  // it was missed
    std::this_thread::sleep_for(moment);
  }
  return false;
}

std::optional<Look> Machine::look() {
  Look look;
  look.boot = read_boot_page(x_memory);
  const auto root = x_qmp->read_register(unit_registers + root_register_offset, 2);
  const auto faults = x_qmp->read_register(unit_registers + fault_status_offset, 1);
  if (!root || !faults) return std::nullopt;
  look.root_register = *root;
  look.fault_status = *faults;
  look.tables = read_unit_tables(x_memory, *root);
  return look;
}

host::Ending Machine::wait_for_end() {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(x_deadline - Clock::now()).count();
  const auto ending = x_child.wait(static_cast<int>(std::max<long>(left, 0)));
  x_was_late = !ending;
  const host::Ending end = x_child.end();
  x_serial->wait_for_end();
  return end;
}

TraceCounts Machine::trace() const { return read_trace(x_setup.folder / "trace.txt"); }

std::string ending_text(const host::Ending& ending, bool was_late) {
  if (was_late) return "killed when its time was up";
  if (ending.how == host::Ending::How::Signalled) return ending.text();
  const std::string status = "status " + std::to_string(ending.number);
  switch (static_cast<Status>(ending.number)) {
    case Status::Panic: return status + " (panic)";
    case Status::BootFailed: return status + " (the kernel did not boot)";
    case Status::ScenarioFailed: return status + " (the VMM failed)";
    case Status::UpdateRefused: return status + " (live update refused)";
    case Status::JumpFailed: return status + " (the jump failed)";
    case Status::Done: return status + " (all done)";
  }
  return ending.number == 0 ? status + " (triple fault)" : status;
}

}  // namespace metal_test
