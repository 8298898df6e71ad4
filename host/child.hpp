// One child process with one owner: it is killed and reaped with its object, and the kernel of this computer kills it
// when the owner dies.
//
// Threads: create, use and destroy a Child on one thread; the death of that thread kills the child too.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace host {

/// How a process ended: by exit(code) or by a signal.
struct Ending {
  enum class How { Exited, Signalled } how = How::Exited;
  int number = 0;

  [[nodiscard]] bool is_success() const { return how == How::Exited && number == 0; }
  /// "exited with code 1", "was killed by signal 9 (Killed)".
  [[nodiscard]] std::string text() const;
};

class Child {
 public:
  Child() = default;
  /// A copy of this process runs @p body, with only the descriptors 0..2 and @p keep, and exits with its result.
  static Child start_body(const char* name, std::span<const int> keep, const std::function<int()>& body);
  /// The image @p path with @p arguments (the program's name is the first), with only 0..2 and @p keep.
  static Child start_image(const std::string& path, const std::vector<std::string>& arguments,
                           std::span<const int> keep);

  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child();

  [[nodiscard]] pid_t pid() const { return x_pid; }
  [[nodiscard]] bool started() const { return x_pid > 0; }
  /// How it ended, once it has.
  std::optional<Ending> try_ending();
  /// Waits at most @p timeout_ms.
  std::optional<Ending> wait(int timeout_ms);
  /// Kills it if it still runs, and reaps it.
  Ending end();

 private:
  explicit Child(pid_t pid) : x_pid(pid) {}

  pid_t x_pid = -1;
  std::optional<Ending> x_ending;
};

/// Closes every descriptor above 2 except @p keep.
void close_all_except(std::span<const int> keep);

}  // namespace host
