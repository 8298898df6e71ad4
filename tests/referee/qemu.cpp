// Finding, starting and ending QEMU. See qemu.hpp.
#include "tests/referee/qemu.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "host/run_error.hpp"

extern char** environ;

namespace referee {
namespace {

constexpr rlim_t processor_seconds = 900;

const char* program(Target target) {
  switch (target) {
    case Target::X86: return "qemu-system-x86_64";
    case Target::Arm: return "qemu-system-aarch64";
    case Target::Riscv: return "qemu-system-riscv64";
  }
  return "";
}

QemuBinary installed(Target target) { return {std::string("/usr/bin/") + program(target), {}, {}}; }

/// Where tools/fetch_qemu10.py puts it, unless $HOLDFAST_QEMU10 says otherwise.
QemuBinary unpacked(Target target) {
  const char* given = std::getenv("HOLDFAST_QEMU10");
  const std::string root = given != nullptr ? given : HOLDFAST_SOURCE_DIR "/build/qemu10";
  return {root + "/usr/bin/" + program(target),
          {"-L", root + "/usr/share/qemu", "-L", root + "/usr/share/seabios"},
          {"QEMU_MODULE_DIR=" + root + "/usr/lib/x86_64-linux-gnu/qemu"}};
}

/// First number of "QEMU emulator version 7.2.22 (...)"; 0 when it does not run.
unsigned major_version(const QemuBinary& binary) {
  if (::access(binary.path.c_str(), X_OK) != 0) return 0;
  std::FILE* output = ::popen(("'" + binary.path + "' --version 2> /dev/null").c_str(), "r");
  if (output == nullptr) return 0;
  std::array<char, 256> line{};
  const bool got = std::fgets(line.data(), line.size(), output) != nullptr;
  ::pclose(output);
  constexpr std::string_view before = "QEMU emulator version ";
  const auto at = got ? std::string_view(line.data()).find(before) : std::string_view::npos;
  return at == std::string_view::npos ? 0 : static_cast<unsigned>(std::atoi(line.data() + at + before.size()));
}

host::UniqueFd memory_file(const char* name, std::span<const std::byte> content) {
  host::UniqueFd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd.valid()) host::throw_system_error("memfd_create");
  if (::write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    host::throw_system_error("write to a memfd");
  return fd;
}

std::string path_of(const host::UniqueFd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }
std::string path_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

/// In the child: becomes QEMU.
int become(const QemuBinary& binary, const std::vector<std::string>& arguments, std::span<const int> keep, int log) {
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  for (const int fd : keep) ::fcntl(fd, F_SETFD, 0);
  const rlimit limit{processor_seconds, processor_seconds};
  ::setrlimit(RLIMIT_CPU, &limit);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
  for (const std::string& variable : binary.environment) environment.push_back(const_cast<char*>(variable.c_str()));
  environment.push_back(nullptr);
  ::execve(binary.path.c_str(), argv.data(), environment.data());
  std::perror(binary.path.c_str());
  return 1;
}

}  // namespace

std::optional<QemuBinary> find_qemu(Release release, Target target) {
  static std::map<std::string, unsigned> versions;
  for (const QemuBinary& binary : {installed(target), unpacked(target)}) {
    const auto [known, is_new] = versions.try_emplace(binary.path, 0);
    if (is_new) known->second = major_version(binary);
    if (known->second == static_cast<unsigned>(release)) return binary;
  }
  return std::nullopt;
}

Qemu::Qemu(const QemuBinary& binary, const SharedRam& ram, const std::vector<std::string>& arguments,
           const std::vector<std::byte>& firmware)
    : x_log(memory_file("qemu-log", {})) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) host::throw_system_error("socketpair");
  x_qtest = std::make_unique<Qtest>(host::UniqueFd(ends[0]));
  const host::UniqueFd theirs(ends[1]);
  const host::UniqueFd image = memory_file("firmware", firmware);

  // -icount with sleep=off: the halted processor makes virtual time jump to the next timer, the device's.
  std::vector<std::string> line{binary.path, "-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot"};
  const auto add = [&](std::initializer_list<std::string> more) { line.insert(line.end(), more); };
  add({"-icount", "shift=0,sleep=off", "-m", std::to_string(SharedRam::size_bytes / mib)});
  add({"-object", "memory-backend-file,id=ram,share=on,size=" + std::to_string(SharedRam::size_bytes) +
                      ",mem-path=" + path_of(ram.file())});
  add({"-chardev", "socket,id=qt,fd=" + std::to_string(theirs.get()), "-object",
       "qtest,id=qtest0,chardev=qt,log=none"});
  if (!firmware.empty()) add({"-bios", path_of(image)});
  line.insert(line.end(), binary.arguments.begin(), binary.arguments.end());
  line.insert(line.end(), arguments.begin(), arguments.end());

  const std::array<int, 4> keep{ram.file(), theirs.get(), image.get(), x_log.get()};
  x_child = host::Child::start_body("qemu", keep, [&] { return become(binary, line, keep, x_log.get()); });
}

std::string Qemu::log() const {
  std::string text(8192, '\0');
  struct stat about{};
  ::fstat(x_log.get(), &about);
  const off_t from =
      about.st_size > static_cast<off_t>(text.size()) ? about.st_size - static_cast<off_t>(text.size()) : 0;
  const ssize_t got = ::pread(x_log.get(), text.data(), text.size(), from);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

}  // namespace referee
