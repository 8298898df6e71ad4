// The command line: options, errors, exit codes, and both renderings of a report. The run itself is a fake here; this
// test program is the command when its first argument is "holdfast".
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/command_line.hpp"
#include "cli/render.hpp"
#include "cli/run_world.hpp"
#include "cli/size_option.hpp"
#include "host/run_error.hpp"

namespace cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Seeds that make the fake run end otherwise than clean.
constexpr holdfast::u64 seed_not_clean = 1001;
constexpr holdfast::u64 seed_internal_error = 1002;

host::RunReport sample_report() {
  host::RunReport report;
  report.clean = true;
  for (holdfast::u64 i = 1; i <= 2; ++i) {
    host::UpdateReport update;
    update.phases_ns = {.preserve = 100 * i,
                        .freeze = 101 * i,
                        .cut_off = 102 * i,
                        .jump = 103 * i,
                        .live_boot = 104 * i,
                        .retrieve = 105 * i,
                        .replace = 106 * i,
                        .finish = 107 * i};
    update.blackout_ns = 1'234'567 * i;
    update.touched_in_blackout = {.tables = 1, .blocks = 2, .records = 3, .files = 4, .frames = 5};
    update.mapped_bytes = 256 << 20;
    update.transfers = {.before = 10, .gap = 11, .after = 12};
    update.bystander = {.transfers = 0, .faulted = 77};
    report.updates.push_back(update);
  }
  return report;
}

struct Answer {
  int exit_code = -1;
  std::string out;
  std::string err;
};

std::string read_all(std::FILE* file) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (std::size_t got; (got = std::fread(buffer.data(), 1, buffer.size(), file)) > 0;) text.append(buffer.data(), got);
  return text;
}

/// Runs this program as the command; stderr goes to a file, as it does for most users who are no people.
Answer holdfast(const std::string& arguments) {
  const std::string error_file = ::testing::TempDir() + "holdfast-cli-test-" + std::to_string(::getpid());
  std::FILE* pipe =
      ::popen(("/proc/" + std::to_string(::getpid()) + "/exe holdfast " + arguments + " 2>" + error_file).c_str(), "r");
  Answer answer;
  answer.out = read_all(pipe);
  const int status = ::pclose(pipe);
  answer.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  std::FILE* errors = std::fopen(error_file.c_str(), "r");
  answer.err = read_all(errors);
  std::fclose(errors);
  std::remove(error_file.c_str());
  return answer;
}

TEST(SizeOption, ReadsPowersOf1024) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("4K"), 4096u);
  EXPECT_EQ(parse_size("256m"), 256u << 20);
  EXPECT_EQ(parse_size("1GiB"), 1u << 30);
  EXPECT_EQ(parse_size("2T"), holdfast::u64{2} << 40);
  for (const char* bad : {"", "G", "-1", "1.5G", "1X", "1KB", "99999999999T", "18446744073709551616", "1 G"})
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
}

TEST(CommandLine, HelpAndVersionGoToStdout) {
  const Answer version = holdfast("--version");
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, HasSubstr("holdfast 0."));
  const Answer help = holdfast("run --help");
  EXPECT_EQ(help.exit_code, 0);
  for (const char* option : {"--world", "--updates", "--devices", "--domains", "--ram", "--mapped", "--leaf", "--mode",
                             "--no-preserve", "--policy", "--seed", "--dump", "--json"})
    EXPECT_THAT(help.out, HasSubstr(option));
  EXPECT_THAT(holdfast("--help").out, AllOf(HasSubstr("Exit codes"), Not(HasSubstr("kernel processes"))));
}

TEST(CommandLine, UsageErrorsExitWith2AndNameTheOption) {
  struct Case {
    const char* arguments;
    const char* expected;
  };
  for (const Case& bad :
       {Case{"", "subcommand"}, Case{"fly", "fly"}, Case{"run --ram 1Q", "--ram"},
        Case{"run --mapped x", "'x' is no size"}, Case{"run --world moon", "'moon' is none of"},
        Case{"run --mode protected", "scalable"}, Case{"run --updates three", "--updates"},
        Case{"run --updates 0", "--updates 0"}, Case{"run --devices 99", "1 to 16"},
        Case{"run --devices -1", "--devices"}, Case{"run --ram 1000", "--ram"},
        Case{"run --mapped 64G --ram 64M", "too little"}, Case{"run --leaf 2M", "4K"}, Case{"run extra", "extra"}}) {
    const Answer answer = holdfast(bad.arguments);
    EXPECT_EQ(answer.exit_code, 2) << bad.arguments;
    EXPECT_THAT(answer.err, HasSubstr(bad.expected)) << bad.arguments;
    EXPECT_EQ(answer.out, "") << bad.arguments;
  }
}

TEST(CommandLine, TooLittleMemorySaysWhatIsNeededAndWhatToDo) {
  const Answer answer = holdfast("run --mapped 64G --ram 64M");
  EXPECT_THAT(answer.err,
              AllOf(HasSubstr("needs about"), HasSubstr("likely because:"), HasSubstr("what next: give --ram")));
}

TEST(CommandLine, ExitCodesTellCleanFromNotCleanFromBroken) {
  EXPECT_EQ(holdfast("run").exit_code, 0);
  const Answer not_clean = holdfast("run --seed " + std::to_string(seed_not_clean));
  EXPECT_EQ(not_clean.exit_code, 1);
  EXPECT_THAT(not_clean.out, HasSubstr("not clean"));
  const Answer broken = holdfast("run --seed " + std::to_string(seed_internal_error));
  EXPECT_EQ(broken.exit_code, 70);
  EXPECT_EQ(broken.out, "");
  EXPECT_THAT(broken.err, AllOf(HasSubstr("the machine died"), HasSubstr("what next: run again")));
}

TEST(CommandLine, OptionsReachTheRun) {
  const Answer answer = holdfast(
      "run --world model --updates 7 --devices 2 --domains shared --ram 2G --mapped 1G --leaf 4K --mode legacy "
      "--no-preserve --policy linux --dump /tmp/somewhere --json");
  EXPECT_THAT(answer.err, HasSubstr("world 1 updates 7 devices 2 domains 1 ram 2147483648 mapped 1073741824 leaves 1 "
                                    "mode 1 preservation 1 policy 1 dump /tmp/somewhere"));
  EXPECT_THAT(holdfast("run --json").err,
              HasSubstr("world 0 updates 3 devices 3 domains 0 ram 1073741824 mapped 268435456 leaves 0 mode 0 "
                        "preservation 0 policy 0 dump "));
}

TEST(CommandLine, NoProgressWhereNobodyWatches) { EXPECT_THAT(holdfast("run").err, Not(HasSubstr("progress"))); }

TEST(RenderJson, HasExactlyTheFieldsOfItsSchema) {
  const auto json = nlohmann::json::parse(render_json(sample_report()));
  const auto expected = nlohmann::json::parse(R"({
    "schema": "holdfast.run/1", "world": "processes", "mode": "scalable", "clean": true,
    "updates": [
      {"phases_ns": {"preserve": 100, "freeze": 101, "cut_off": 102, "jump": 103, "live_boot": 104, "retrieve": 105,
                     "replace": 106, "finish": 107},
       "blackout_ns": 1234567,
       "touched_in_blackout": {"tables": 1, "blocks": 2, "records": 3, "files": 4, "frames": 5},
       "mapped_bytes": 268435456,
       "transfers": {"before": 10, "gap": 11, "after": 12},
       "lost": 0, "repeated": 0, "wrong": 0, "faulted": 0},
      {"phases_ns": {"preserve": 200, "freeze": 202, "cut_off": 204, "jump": 206, "live_boot": 208, "retrieve": 210,
                     "replace": 212, "finish": 214},
       "blackout_ns": 2469134,
       "touched_in_blackout": {"tables": 1, "blocks": 2, "records": 3, "files": 4, "frames": 5},
       "mapped_bytes": 268435456,
       "transfers": {"before": 10, "gap": 11, "after": 12},
       "lost": 0, "repeated": 0, "wrong": 0, "faulted": 0}]})");
  EXPECT_EQ(json, expected);
}

TEST(RenderJson, IsOneLineAndValidWithoutUpdates) {
  const std::string text = render_json({});
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  EXPECT_TRUE(nlohmann::json::parse(text)["updates"].is_array());
}

TEST(RenderTable, ShowsEveryUpdateAndTheVerdict) {
  const std::string table = render_table(sample_report(), Color::No);
  EXPECT_THAT(table, AllOf(HasSubstr("update 1"), HasSubstr("update 2"), HasSubstr("1234.6 us"), HasSubstr("256 MiB"),
                           HasSubstr("clean:"), Not(HasSubstr("\033["))));
}

TEST(RenderTable, ColorsOnlyWhenItMay) {
  host::RunReport report = sample_report();
  report.updates[1].lost = 3;
  report.clean = false;
  report.complaints = {"update 2: 3 transfers lost"};
  EXPECT_THAT(render_table(report, Color::Yes), HasSubstr("\033[31m"));
  EXPECT_THAT(render_table(report, Color::No), AllOf(Not(HasSubstr("\033[")), HasSubstr("update 2: 3 transfers lost")));
}

TEST(RenderTable, BreaksManyUpdatesIntoBlocks) {
  host::RunReport report = sample_report();
  while (report.updates.size() < 8) report.updates.push_back(report.updates[0]);
  const std::string table = render_table(report, Color::No);
  const std::size_t first = table.find("transfers in the blackout");
  EXPECT_NE(table.find("transfers in the blackout", first + 1), std::string::npos);
}

}  // namespace

host::RunReport run_world(const host::RunOptions& options, const Invocation&, const Progress& progress) {
  std::fprintf(
      stderr,
      "world %u updates %u devices %u domains %u ram %lu mapped %lu leaves %u mode %u preservation %u policy %u "
      "dump %s\n",
      static_cast<unsigned>(options.world), options.updates, options.devices, static_cast<unsigned>(options.domains),
      options.ram_bytes, options.mapped_bytes, static_cast<unsigned>(options.leaves),
      static_cast<unsigned>(options.mode), static_cast<unsigned>(options.preservation),
      static_cast<unsigned>(options.policy), options.dump_directory.c_str());
  progress("progress");
  if (options.seed == seed_internal_error)
    throw host::RunError(host::ExitCode::Internal, "the machine died", "of old age", "run again");
  host::RunReport report = sample_report();
  report.clean = options.seed != seed_not_clean;
  return report;
}

int run_kernel_command(std::span<char* const>) { return 70; }

}  // namespace cli

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "holdfast") return cli::run_command_line(argc - 1, argv + 1);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
