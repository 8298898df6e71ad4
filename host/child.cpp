// fork, exec and the way every child is sure to end.
#include "host/child.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "host/run_error.hpp"

extern char** environ;

namespace host {
namespace {

/// First act of a child: it dies with its parent, keeps the terminal's signals away, and prints nothing to stdout.
void settle_child(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(static_cast<int>(ExitCode::Internal));  // it died before prctl
  ::setpgid(0, 0);  // ^C reaches the supervisor alone; it ends us
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) ::signal(signal, SIG_DFL);
  int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);  // stdout carries data, and children have none
}

std::vector<char*> pointers_of(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

Ending ending_of(int status) {
  if (WIFSIGNALED(status)) return {Ending::How::Signalled, WTERMSIG(status)};
  return {Ending::How::Exited, WEXITSTATUS(status)};
}

}  // namespace

std::string Ending::text() const {
  if (how == How::Exited) return "exited with code " + std::to_string(number);
  return "was killed by signal " + std::to_string(number) + " (" + ::strsignal(number) + ")";
}

void close_all_except(std::span<const int> keep) {
  std::vector<int> kept(keep.begin(), keep.end());
  std::sort(kept.begin(), kept.end());
  unsigned from = 3;
  auto close_until = [&](unsigned end) {
    if (from >= end) return;
#ifdef SYS_close_range
    if (::syscall(SYS_close_range, from, end - 1, 0) == 0) return;
#endif
    unsigned limit = static_cast<unsigned>(::sysconf(_SC_OPEN_MAX));
    for (unsigned fd = from; fd < std::min(end, limit); ++fd) ::close(static_cast<int>(fd));
  };
  for (int fd : kept) {
    if (fd < 3) continue;
    close_until(static_cast<unsigned>(fd));
    from = static_cast<unsigned>(fd) + 1;
  }
  close_until(~0u);
}

Child Child::start_body(const char* name, std::span<const int> keep, const std::function<int()>& body) {
  pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid < 0) throw_system_error("fork");
  if (pid != 0) return Child(pid);
  settle_child(parent);
  ::prctl(PR_SET_NAME, name);
  close_all_except(keep);
  int code = static_cast<int>(ExitCode::Internal);
  try {
    code = body();
  } catch (const std::exception& error) {
    std::string text = std::string(name) + ": " + error.what() + "\n";
    [[maybe_unused]] ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
  }
  ::_exit(code);
}

Child Child::start_image(const std::string& path, const std::vector<std::string>& arguments,
                         std::span<const int> keep) {
  std::vector<char*> argv = pointers_of(arguments);
  pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid < 0) throw_system_error("fork");
  if (pid != 0) return Child(pid);
  settle_child(parent);
  close_all_except(keep);
  for (int fd : keep) ::fcntl(fd, F_SETFD, 0);
  ::execve(path.c_str(), argv.data(), environ);
  std::string text = "cannot start " + path + ": " + std::strerror(errno) + "\n";
  [[maybe_unused]] ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
  ::_exit(static_cast<int>(ExitCode::Internal));
}

Child::Child(Child&& other) noexcept : x_pid(std::exchange(other.x_pid, -1)), x_ending(other.x_ending) {}

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    end();
    x_pid = std::exchange(other.x_pid, -1);
    x_ending = other.x_ending;
  }
  return *this;
}

Child::~Child() { end(); }

std::optional<Ending> Child::try_ending() {
  if (x_ending || !started()) return x_ending;
  int status = 0;
  pid_t got;
  do got = ::waitpid(x_pid, &status, WNOHANG);
  while (got < 0 && errno == EINTR);
  if (got == x_pid) x_ending = ending_of(status);
  return x_ending;
}

std::optional<Ending> Child::wait(int timeout_ms) {
  // A sleep of 1 ms takes longer on a busy computer: it is the clock that says when the time is up.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!try_ending() && std::chrono::steady_clock::now() < deadline) {
    timespec moment{.tv_sec = 0, .tv_nsec = 1'000'000};
    ::nanosleep(&moment, nullptr);
  }
  return try_ending();
}

Ending Child::end() {
  if (!started() || try_ending()) return x_ending.value_or(Ending{});
  ::kill(x_pid, SIGKILL);
  int status = 0;
  pid_t got;
  do got = ::waitpid(x_pid, &status, 0);
  while (got < 0 && errno == EINTR);
  x_ending = got == x_pid ? ending_of(status) : Ending{};
  return *x_ending;
}

}  // namespace host
