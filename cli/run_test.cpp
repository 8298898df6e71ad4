// `holdfast run` itself: both programs, real kernels, in both worlds, and every way it can be brought to an end.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

using Words = std::vector<std::string>;

std::string temporary(const std::string& name) {
  return ::testing::TempDir() + "holdfast-run-test-" + std::to_string(::getpid()) + "-" + name;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// One `holdfast run` under way.
class Command {
 public:
  explicit Command(Words options) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // what it leaves behind comes to us
    options.insert(options.begin(), {"holdfast", "run"});
    x_pid = ::fork();
    if (x_pid != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::signal(SIGINT, SIG_DFL);  // a shell's background job ignores it, and so would we
    redirect(STDOUT_FILENO, x_out);
    redirect(STDERR_FILENO, x_err);
    std::vector<char*> argv;
    for (std::string& word : options) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(HOLDFAST_PROGRAM, argv.data());
    ::_exit(127);
  }
  ~Command() {
    if (x_pid > 0) {
      ::kill(x_pid, SIGKILL);
      wait();
    }
    std::filesystem::remove(x_out);
    std::filesystem::remove(x_err);
  }
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  [[nodiscard]] pid_t pid() const { return x_pid; }
  /// Exit code, or 1000 + the signal that ended it.
  int wait() {
    int status = 0;
    EXPECT_EQ(::waitpid(x_pid, &status, 0), x_pid);
    x_pid = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  [[nodiscard]] std::string out() const { return contents(x_out); }
  [[nodiscard]] std::string err() const { return contents(x_err); }

  /// Its child processes of that name; empty while there is none.
  [[nodiscard]] std::vector<pid_t> children(const std::string& name) const {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      if (entry.path().filename().string().find_first_not_of("0123456789") != std::string::npos) continue;
      const std::string stat = contents(entry.path().string() + "/stat");
      const std::size_t end_of_name = stat.rfind(')');
      if (end_of_name == std::string::npos) continue;
      std::istringstream fields(stat.substr(end_of_name + 2));
      std::string state;
      pid_t parent = 0;
      fields >> state >> parent;
      if (parent != x_pid || state == "Z") continue;
      if (stat.find("(" + name) != std::string::npos) found.push_back(std::stoi(entry.path().filename().string()));
    }
    return found;
  }
  pid_t await_child(const std::string& name) const {
    for (int waited = 0; waited < 10'000; ++waited) {
      if (const std::vector<pid_t> found = children(name); !found.empty()) return found[0];
      ::usleep(1000);
    }
    ADD_FAILURE() << "no child " << name;
    return -1;
  }

 private:
  static void redirect(int fd, const std::string& path) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(file, fd);
    ::close(file);
  }

  inline static int x_count = 0;
  std::string x_out = temporary("out-" + std::to_string(++x_count));
  std::string x_err = temporary("err-" + std::to_string(x_count));
  pid_t x_pid = -1;
};

constexpr const char* machine_name = "holdfast-machin";  // the system cuts names after 15 characters
constexpr const char* kernel_name = "holdfast-kernel";

/// Sends @p signal to one process, never to a group.
void send(pid_t pid, int signal) {
  ASSERT_GT(pid, 0);
  ::kill(pid, signal);
}

/// Nothing that a run started is left, running or dead.
void expect_nothing_left() {
  for (int waited = 0; waited < 5000; ++waited) {
    if (::waitpid(-1, nullptr, WNOHANG) < 0) break;
    ::usleep(1000);
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a process is left running";
  EXPECT_EQ(errno, ECHILD);
}

/// Runs with --json; the report.
json report_of(Words options, int expected_exit_code = 0) {
  options.emplace_back("--json");
  Command run(std::move(options));
  EXPECT_EQ(run.wait(), expected_exit_code) << run.err();
  expect_nothing_left();
  const std::string text = run.out();
  return json::accept(text) ? json::parse(text) : json();
}

void expect_clean(const json& report, std::size_t updates) {
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report["schema"], "holdfast.run/1");
  EXPECT_TRUE(report["clean"]);
  ASSERT_EQ(report["updates"].size(), updates);
  for (const json& update : report["updates"]) {
    EXPECT_GT(update["transfers"]["before"], 0);
    EXPECT_GT(update["transfers"]["gap"], 0);
    EXPECT_GT(update["transfers"]["after"], 0);
    EXPECT_GT(update["blackout_ns"], 0);
    for (const char* count : {"lost", "repeated", "wrong", "faulted"}) EXPECT_EQ(update[count], 0) << count;
  }
}

TEST(HoldfastRun, ThreeUpdatesInARowAreCleanInEveryShape) {
  RecordProperty("acceptance", "IV17 T4");
  expect_clean(report_of({}), 3);
  expect_clean(report_of({"--mode", "legacy"}), 3);
  expect_clean(report_of({"--domains", "shared"}), 3);
  expect_clean(report_of({"--leaf", "4K", "--seed", "7"}), 3);
}

TEST(HoldfastRun, AHundredUpdatesInARowAreClean) {
  RecordProperty("acceptance", "T3");
  expect_clean(report_of({"--updates", "100", "--mapped", "64M"}), 100);
}

TEST(HoldfastRun, ModelWorldIsCleanAndRepeatsItself) {
  const Words options{"--world", "model", "--mapped", "16M"};
  const json first = report_of(options);
  expect_clean(first, 3);
  EXPECT_EQ(first["world"], "model");
  EXPECT_EQ(report_of(options), first);
}

TEST(HoldfastRun, WithoutPreservingDevicesFaultAndTheRunSaysSo) {
  const json report = report_of({"--no-preserve"}, 1);
  ASSERT_TRUE(report.is_object());
  EXPECT_FALSE(report["clean"]);
  ASSERT_EQ(report["updates"].size(), 1u);
  EXPECT_GT(report["updates"][0]["faulted"], 0);
}

TEST(HoldfastRun, TouchesNoMoreInTheBlackoutForAHugeMappingThanForASmallOne) {
  const json small = report_of({"--mapped", "64M", "--leaf", "4K", "--updates", "1"});
  const json huge = report_of({"--mapped", "4G", "--leaf", "4K", "--updates", "1"});
  expect_clean(small, 1);
  expect_clean(huge, 1);
  EXPECT_EQ(small["updates"][0]["touched_in_blackout"], huge["updates"][0]["touched_in_blackout"]);
  const double ratio =
      huge["updates"][0]["blackout_ns"].get<double>() / small["updates"][0]["blackout_ns"].get<double>();
  std::printf("blackout(4 GiB) / blackout(64 MiB), both mapped at 4K: %.2f\n", ratio);
}

TEST(HoldfastRun, GuestMemoryAboveTheHoleBelow4GiBSurvives) {
  expect_clean(report_of({"--ram", "5G", "--updates", "2"}), 2);
}

TEST(HoldfastRun, SixteenDevicesSurvive) {
  expect_clean(report_of({"--devices", "16", "--mapped", "64M", "--updates", "2"}), 2);
}

TEST(HoldfastRun, AMachineThatDiesEndsTheRunWithAMessage) {
  Command run({"--updates", "500"});
  send(run.await_child(machine_name), SIGKILL);
  EXPECT_EQ(run.wait(), 70);
  EXPECT_THAT(run.err(), HasSubstr("the machine process was killed by signal 9"));
  EXPECT_EQ(run.out(), "");
  expect_nothing_left();
}

TEST(HoldfastRun, AKernelThatDiesAtAnyMomentEndsTheRunWithAMessage) {
  for (int moment = 0; moment < 12; ++moment) {
    Command run({"--updates", "500"});
    const pid_t kernel = run.await_child(kernel_name);
    ::usleep(static_cast<useconds_t>(moment * 17'000));
    send(kernel, SIGSEGV);
    EXPECT_EQ(run.wait(), 70);
    EXPECT_THAT(run.err(), HasSubstr("a kernel process"));
    EXPECT_THAT(run.err(), HasSubstr("the last milestone was"));
    EXPECT_EQ(run.out(), "");
    expect_nothing_left();
  }
}

TEST(HoldfastRun, AnInterruptEndsEveryProcess) {
  Command run({"--updates", "500"});
  run.await_child(kernel_name);
  ::usleep(100'000);
  send(run.pid(), SIGINT);
  EXPECT_EQ(run.wait(), 130);
  EXPECT_THAT(run.err(), HasSubstr("interrupted"));
  expect_nothing_left();
}

TEST(HoldfastRun, KillingTheSupervisorEndsEveryProcess) {
  Command run({"--updates", "500"});
  run.await_child(kernel_name);
  ::usleep(100'000);
  send(run.pid(), SIGKILL);
  EXPECT_EQ(run.wait(), 1000 + SIGKILL);
  expect_nothing_left();
}

TEST(HoldfastRun, DumpKeepsTheHandoverOfEveryJump) {
  const std::string directory = temporary("dump");
  expect_clean(report_of({"--dump", directory, "--updates", "2"}), 2);
  const json index = json::parse(contents(directory + "/handover.json"));
  ASSERT_EQ(index["jumps"].size(), 2u);
  for (const json& jump : index["jumps"]) {
    std::ifstream ram(directory + "/" + jump["file"].get<std::string>(), std::ios::binary);
    ram.seekg(jump["fdt"].get<std::streamoff>());
    std::string magic(4, '\0');
    ram.read(magic.data(), 4);
    EXPECT_EQ(magic, "\xd0\x0d\xfe\xed") << "the root FDT begins here";
  }
  std::filesystem::remove_all(directory);
}

TEST(HoldfastRun, ADirectoryThatCannotBeWrittenIsSaidBeforeAnythingRuns) {
  Command run({"--dump", "/proc/nowhere"});
  EXPECT_EQ(run.wait(), 3);
  EXPECT_THAT(run.err(), HasSubstr("--dump"));
  expect_nothing_left();
}

}  // namespace
}  // namespace cli
