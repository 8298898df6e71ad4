// Finding and starting QEMU. See binary.hpp.
#include "tests/qemu/binary.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "host/run_error.hpp"

extern char** environ;

namespace qemu {
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

Binary installed(Target target) { return {std::string("/usr/bin/") + program(target), {}, {}}; }

/// Where tools/fetch_qemu10.py puts it, unless $HOLDFAST_QEMU10 says otherwise.
Binary unpacked(Target target) {
  const char* given = std::getenv("HOLDFAST_QEMU10");
  const std::string root = given != nullptr ? given : HOLDFAST_SOURCE_DIR "/build/qemu10";
  return {root + "/usr/bin/" + program(target),
          {"-L", root + "/usr/share/qemu", "-L", root + "/usr/share/seabios"},
          {"QEMU_MODULE_DIR=" + root + "/usr/lib/x86_64-linux-gnu/qemu"}};
}

/// In the child: becomes QEMU.
int become(const Binary& binary, const std::vector<std::string>& arguments, std::span<const int> keep, Output output) {
  ::dup2(output.out, STDOUT_FILENO);
  ::dup2(output.errors, STDERR_FILENO);
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

std::optional<unsigned> major_version(const Binary& binary) {
  if (::access(binary.path.c_str(), X_OK) != 0) return std::nullopt;
  std::FILE* output = ::popen(("'" + binary.path + "' --version 2> /dev/null").c_str(), "r");
  if (output == nullptr) return std::nullopt;
  std::array<char, 256> line{};
  const bool got = std::fgets(line.data(), line.size(), output) != nullptr;
  ::pclose(output);
  constexpr std::string_view before = "QEMU emulator version ";
  const auto at = got ? std::string_view(line.data()).find(before) : std::string_view::npos;
  if (at == std::string_view::npos) return std::nullopt;
  return static_cast<unsigned>(std::atoi(line.data() + at + before.size()));
}

std::optional<Binary> find_binary(Release release, Target target) {
  static std::map<std::string, std::optional<unsigned>> versions;
  for (const Binary& binary : {installed(target), unpacked(target)}) {
    const auto [known, is_new] = versions.try_emplace(binary.path);
    if (is_new) known->second = major_version(binary);
    if (known->second == static_cast<unsigned>(release)) return binary;
  }
  return std::nullopt;
}

host::Child start(const Binary& binary, const std::vector<std::string>& arguments, std::span<const int> keep,
                  Output output) {
  std::vector<std::string> line{binary.path, "-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot"};
  line.insert(line.end(), binary.arguments.begin(), binary.arguments.end());
  line.insert(line.end(), arguments.begin(), arguments.end());
  std::vector<int> kept(keep.begin(), keep.end());
  kept.push_back(output.out);
  kept.push_back(output.errors);
  return host::Child::start_body("qemu", kept, [&] { return become(binary, line, keep, output); });
}

host::UniqueFd create_memory_file(const char* name, std::span<const std::byte> content) {
  host::UniqueFd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd.valid()) host::throw_system_error("memfd_create");
  if (::write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    host::throw_system_error("write to a memfd");
  return fd;
}

std::string path_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

std::string last_text(int fd) {
  std::string text(8192, '\0');
  struct stat about{};
  ::fstat(fd, &about);
  const auto most = static_cast<off_t>(text.size());
  const ssize_t got = ::pread(fd, text.data(), text.size(), about.st_size > most ? about.st_size - most : 0);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

}  // namespace qemu
