// Messages of failed system calls.
#include "host/run_error.hpp"

#include <cerrno>
#include <cstring>

namespace host {

void throw_system_error(const std::string& call) {
  int error = errno;
  ExitCode code = error == ENOMEM || error == ENOSPC || error == EMFILE ? ExitCode::InputMissing : ExitCode::Internal;
  throw RunError(code, call + ": " + std::strerror(error) + " (errno " + std::to_string(error) + ")",
                 code == ExitCode::InputMissing ? "this computer ran out of memory or file descriptors" : "");
}

}  // namespace host
