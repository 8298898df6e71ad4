// The other program of the pair.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cli/run_world.hpp"
#include "host/run_error.hpp"

namespace cli {

void continue_as(const std::string& program, const Invocation& invocation) {
  std::error_code error;
  const std::filesystem::path own = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string path = (own.parent_path() / program).string();
  if (!error) ::execv(path.c_str(), invocation.argv);
  throw host::RunError(host::ExitCode::InputMissing, "cannot start " + path + ": " + std::strerror(errno),
                       "each world has a program of its own, built together", "build both: ./dev run builds them");
}

}  // namespace cli
