// The processes world with a small machine and a fake kernel: the ring, the jump by execve, and every way a run can
// end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "host/host_test_machine.hpp"
#include "host/report_builder.hpp"
#include "host/supervisor.hpp"

namespace host::test {
namespace {

using ::testing::HasSubstr;

SupervisorSettings settings_for(Script script, u32 updates = 2) {
  SupervisorSettings settings;
  settings.options.updates = updates;
  settings.options.devices = 1;
  settings.options.seed = static_cast<u64>(script);
  settings.timeout_ms = 60'000;
  return settings;
}

/// Runs @p settings; the error that ends the run, which must come.
RunError error_of(SupervisorSettings settings) {
  TestMachineBuilder builder;
  Supervisor supervisor(std::move(settings), builder);
  try {
    supervisor.run();
  } catch (const RunError& error) {
    return error;
  }
  ADD_FAILURE() << "the run ended well";
  return RunError(ExitCode::Ok, "");
}

/// No process that this one started is left, running or dead.
void expect_no_children() {
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(WriteRing, HandsWritesOverInOrderWhileBothSidesRun) {
  auto ring = std::make_unique<WriteRing>();
  const u32 owner = ring->take_over();
  constexpr u64 writes = 100'000;
  std::thread producer([&] {
    for (u64 i = 0; i < writes; ++i) ring->push({.address = i, .value = ~i, .owner = owner, .width_bytes = 8});
    ring->wait_until_taken();
  });
  u64 next = 0;
  while (next < writes) {
    ring->sleep_until_written(1'000'000);
    ring->drain([&](const RegisterWrite& write) {
      ASSERT_EQ(write.address, next);
      ASSERT_EQ(write.value, ~next);
      ++next;
    });
  }
  producer.join();
  EXPECT_TRUE(ring->all_taken());
}

TEST(WriteRing, RefusesWritesOfAKernelThatIsNoLongerInService) {
  auto ring = std::make_unique<WriteRing>();
  const u32 old_kernel = ring->take_over();
  ring->push({.address = 1, .value = 1, .owner = old_kernel, .width_bytes = 4});
  const u32 new_kernel = ring->take_over();
  ring->push({.address = 2, .value = 2, .owner = new_kernel, .width_bytes = 4});
  std::vector<u64> applied;
  EXPECT_EQ(ring->drain([&](const RegisterWrite& write) { applied.push_back(write.address); }), 2u);
  EXPECT_THAT(applied, ::testing::ElementsAre(2u));
  EXPECT_EQ(ring->refused(), 1u);
}

TEST(KernelArguments, SurviveTheCommandLine) {
  KernelArguments sent;
  sent.machine = {.ram = 3, .registers = 4, .link = 5};
  sent.report_fd = 6;
  sent.handover = {~u64{0}, 1, u64{1} << 63, 4};
  sent.vmm.devices = 7;
  sent.vmm.generation = 12;
  sent.vmm.preservation = vmm::Preservation::Nothing;
  sent.mode = TranslationMode::Legacy;
  sent.dump = JumpDump::Yes;
  const std::array<std::string_view, 2> first{"holdfast", "kernel"};
  ArgumentWords words(first, sent);
  char* const* argv = words.argv();
  std::size_t count = 0;
  while (argv[count] != nullptr) ++count;
  EXPECT_STREQ(argv[1], "kernel");
  const KernelArguments received = parse_kernel_arguments({argv + 2, count - 2});
  EXPECT_EQ(received.machine.link, 5);
  EXPECT_EQ(received.handover, sent.handover);
  EXPECT_EQ(received.vmm.devices, 7u);
  EXPECT_EQ(received.vmm.generation, 12u);
  EXPECT_EQ(received.vmm.preservation, vmm::Preservation::Nothing);
  EXPECT_EQ(received.mode, TranslationMode::Legacy);
  EXPECT_EQ(received.dump, JumpDump::Yes);
  EXPECT_THROW((void)parse_kernel_arguments({argv + 2, count - 3}), RunError) << "one is missing";
  EXPECT_THROW((void)parse_kernel_arguments({argv + 1, count - 1}), RunError) << "one is unknown";
}

TEST(HostWorld, KeepsRamAndDescriptorsThroughEveryJumpAndNothingElse) {
  TestMachineBuilder builder;
  Supervisor supervisor(settings_for(Script::Update, 5), builder);
  const RunEvidence evidence = supervisor.run();
  ASSERT_EQ(evidence.vmm_reports.size(), 6u);
  EXPECT_EQ(evidence.vmm_reports.back().outcome, vmm::Outcome::Finished);
  EXPECT_EQ(evidence.vmm_reports.back().generation, 5u);
  EXPECT_EQ(evidence.refused_writes, 0u);
  expect_no_children();
}

TEST(HostWorld, MachineRunsOnWhileNoKernelDoes) {
  TestMachineBuilder builder;
  SupervisorSettings settings = settings_for(Script::Update, 3);
  const RunOptions options = settings.options;
  const RunEvidence evidence = Supervisor(std::move(settings), builder).run();
  const RunReport report = build_report(options, evidence);
  ASSERT_EQ(report.updates.size(), 3u);
  for (const UpdateReport& update : report.updates) {
    EXPECT_GT(update.transfers.gap, 0u);
    EXPECT_GT(update.blackout_ns, 0u);
    EXPECT_GE(update.blackout_ns, update.phases_ns.cut_off + update.phases_ns.jump);
    EXPECT_EQ(update.touched_in_blackout.tables, 7u) << "the old kernel's and the new one's";
  }
}

TEST(HostWorld, OldKernelGoesOnWhenTheJumpFails) {
  TestMachineBuilder builder;
  const RunEvidence evidence = Supervisor(settings_for(Script::FailedJump), builder).run();
  ASSERT_EQ(evidence.vmm_reports.size(), 1u);
  EXPECT_EQ(evidence.vmm_reports[0].outcome, vmm::Outcome::Finished);
}

TEST(Child, IsWaitedForAsLongAsTheClockSays) {
  Child child = Child::start_body("sleeper", {}, [] {
    ::pause();
    return 0;
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(child.wait(200));
  const auto waited = std::chrono::steady_clock::now() - start;
  EXPECT_GE(waited, std::chrono::milliseconds(200));
  EXPECT_FALSE(child.wait(0));
  child.end();
  EXPECT_TRUE(child.wait(60'000));
}

TEST(Supervisor, SaysThatAKernelCrashedAndWhen) {
  const RunError error = error_of(settings_for(Script::CrashAfterJump));
  EXPECT_EQ(error.code(), ExitCode::Internal);
  EXPECT_THAT(error.what(), HasSubstr("kernel"));
  EXPECT_THAT(error.what(), HasSubstr("the last milestone was BootEntry"));
  expect_no_children();
}

TEST(Supervisor, SaysThatAKernelExitedEarly) {
  const RunError error = error_of(settings_for(Script::ExitAfterJump));
  EXPECT_EQ(error.code(), ExitCode::Internal);
  EXPECT_THAT(error.what(), HasSubstr("exited with code 3"));
  expect_no_children();
}

TEST(Supervisor, SaysThatTheMachineDied) {
  const RunError error = error_of(settings_for(Script::KillMachine));
  EXPECT_EQ(error.code(), ExitCode::Internal);
  EXPECT_THAT(error.what(), HasSubstr("machine process exited with code 9"));
  expect_no_children();
}

TEST(Supervisor, EndsAKernelThatHangs) {
  SupervisorSettings settings = settings_for(Script::Hang);
  settings.timeout_ms = 500;
  const RunError error = error_of(std::move(settings));
  EXPECT_EQ(error.code(), ExitCode::Internal);
  EXPECT_THAT(error.what(), HasSubstr("did not end"));
  expect_no_children();
}

TEST(Supervisor, NamesMemoryWhenAKernelCannotComeUpForWantOfIt) {
  const RunError error = error_of(settings_for(Script::RefusedBoot));
  EXPECT_EQ(error.code(), ExitCode::InputMissing);
  EXPECT_THAT(error.what_next(), HasSubstr("--ram"));
  expect_no_children();
}

TEST(Supervisor, SaysThatAnImageCannotBeStarted) {
  SupervisorSettings settings = settings_for(Script::Update);
  settings.image.path = "/nonexistent/holdfast";
  const RunError error = error_of(std::move(settings));
  EXPECT_EQ(error.code(), ExitCode::Internal);
  expect_no_children();
}

/// Starts a process that supervises a hanging kernel; its pid, and the pids of machine and kernel.
struct Supervised {
  pid_t supervisor = 0;
  std::array<pid_t, 2> children{};
};

Supervised supervise_a_hanging_kernel() {
  auto [ours, theirs] = MessageSocket::create_pair();
  Supervised started;
  started.supervisor = ::fork();
  if (started.supervisor == 0) {
    ours.close();
    TestMachineBuilder builder;
    SupervisorSettings settings = settings_for(Script::Hang);
    Supervisor supervisor(std::move(settings), builder);
    std::thread([&] {
      while (supervisor.kernel_pid() <= 0) ::usleep(1000);
      theirs.send_value(std::array{supervisor.machine().child().pid(), supervisor.kernel_pid()});
    }).detach();
    int code = 0;
    try {
      supervisor.run();
    } catch (const RunError& error) {
      code = static_cast<int>(error.code());
    }
    ::_exit(code);
  }
  EXPECT_EQ(ours.receive_value(started.children, 30'000), Received::Message);
  for (pid_t pid : started.children) EXPECT_GT(pid, 0);
  return started;
}

void expect_gone(pid_t pid) {
  for (int waited = 0; waited < 5000 && ::kill(pid, 0) == 0; ++waited) {
    ::waitpid(pid, nullptr, WNOHANG);  // orphans come to us, see PR_SET_CHILD_SUBREAPER
    ::usleep(1000);
  }
  EXPECT_EQ(::kill(pid, 0), -1) << "process " << pid << " is left running";
}

TEST(Supervisor, LeavesNothingRunningWhenItIsInterrupted) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const Supervised started = supervise_a_hanging_kernel();
  ::usleep(50'000);
  ASSERT_GT(started.supervisor, 0);
  ::kill(started.supervisor, SIGTERM);
  int status = 0;
  ASSERT_EQ(::waitpid(started.supervisor, &status, 0), started.supervisor);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(ExitCode::Interrupted));
  for (pid_t pid : started.children) expect_gone(pid);
}

TEST(Supervisor, LeavesNothingRunningWhenItIsKilled) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const Supervised started = supervise_a_hanging_kernel();
  ASSERT_GT(started.supervisor, 0);
  ::kill(started.supervisor, SIGKILL);
  ASSERT_EQ(::waitpid(started.supervisor, nullptr, 0), started.supervisor);
  for (pid_t pid : started.children) expect_gone(pid);
}

TEST(RamDump, KeepsRamOfEveryJump) {
  const std::string directory = ::testing::TempDir() + "holdfast-dump-" + std::to_string(::getpid());
  SupervisorSettings settings = settings_for(Script::Update, 2);
  settings.options.dump_directory = directory;
  TestMachineBuilder builder;
  Supervisor(std::move(settings), builder).run();
  for (u64 update = 1; update <= 2; ++update) {
    std::ifstream ram(directory + "/update-" + std::to_string(update) + ".ram", std::ios::binary);
    ram.seekg(0x2000);
    u64 witness = 0;
    ram.read(reinterpret_cast<char*>(&witness), sizeof witness);
    EXPECT_EQ(witness, 1000 + update);
    ram.seekg(high_start);
    ram.read(reinterpret_cast<char*>(&witness), sizeof witness);
    EXPECT_EQ(witness, 77u);
  }
  std::ifstream index(directory + "/handover.json");
  const std::string text((std::istreambuf_iterator<char>(index)), std::istreambuf_iterator<char>());
  EXPECT_THAT(text, HasSubstr("\"fdt\": 8192"));
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace host::test

int main(int argc, char** argv) {
  if (argc > 2 && std::string_view(argv[1]) == "kernel")
    return host::test::run_fake_kernel({argv + 2, static_cast<std::size_t>(argc - 2)}, "/proc/self/exe");
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
