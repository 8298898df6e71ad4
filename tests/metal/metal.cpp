// Live update of bare-metal kernels under QEMU, from outside.
//
//   metal [SCENARIO...] [--qemu 7|10] [--qemu-binary FILE] [--image FILE] [--logs FOLDER] [--keep] [--list]
//
// stdout: one table, a line per run, what failed below it. stderr: progress. Exit codes: 0 everything is as it must be,
// 1 something is not, 2 usage, 3 no QEMU or no image, 70 a machine cannot be run, 130 interrupted.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "host/run_error.hpp"
#include "tests/metal/scenario.hpp"

namespace metal_test {
namespace {

struct Options {
  std::vector<std::string> names;
  std::vector<unsigned> releases;
  std::string binary;
  std::string image = HOLDFAST_METAL_IMAGE;
  std::string logs = HOLDFAST_METAL_LOGS;
  bool keep = false;
  bool list = false;
};

constexpr unsigned oldest_release = 7;  // the first with a datagram wire for its network card

std::vector<Bench> benches_of(const Options& options) {
  std::vector<Bench> benches;
  const auto add = [&](const qemu::Binary& binary, unsigned release) {
    benches.push_back({binary, release, options.image, options.logs, options.keep});
  };
  if (!options.binary.empty()) {
    const qemu::Binary binary{options.binary, {}, {}};
    const auto release = qemu::major_version(binary);
    if (!release) throw host::RunError(host::ExitCode::InputMissing, options.binary + " is no QEMU that runs");
    if (*release < oldest_release)
      throw host::RunError(host::ExitCode::InputMissing,
                           fmt::format("{} is QEMU {}, which is too old", options.binary, *release), {},
                           fmt::format("QEMU {} or newer is needed (Debian 12: qemu-system-x86)", oldest_release));
    add(binary, *release);
    return benches;
  }
  const std::vector<unsigned> wanted = options.releases.empty() ? std::vector<unsigned>{7, 10} : options.releases;
  for (const unsigned release : wanted) {
    if (const auto binary = qemu::find_binary(static_cast<qemu::Release>(release), qemu::Target::X86))
      add(*binary, release);
    else
      fmt::print(stderr, "metal: QEMU {} is not there: skipped\n", release);
  }
  if (benches.empty())
    throw host::RunError(host::ExitCode::InputMissing, "there is no QEMU to run on", {},
                         "Debian 12: apt-get install qemu-system-x86; QEMU 10: tools/fetch_qemu10.py");
  return benches;
}

std::vector<Scenario> chosen(const Options& options) {
  std::vector<Scenario> some;
  for (const Scenario& scenario : scenarios())
    if (options.names.empty() || std::ranges::find(options.names, scenario.name) != options.names.end())
      some.push_back(scenario);
  for (const std::string& name : options.names)
    if (std::ranges::find(scenarios(), name, &Scenario::name) == scenarios().end())
      throw host::RunError(host::ExitCode::Usage, "there is no scenario " + name, {}, "metal --list names them all");
  return some;
}

int run(const Options& options) {
  if (options.list) {
    for (const Scenario& scenario : scenarios()) fmt::print("{:<10} {}\n", scenario.name, scenario.about);
    return 0;
  }
  const std::vector<Scenario> some = chosen(options);
  if (!std::filesystem::exists(options.image))
    throw host::RunError(host::ExitCode::InputMissing, "there is no kernel image " + options.image, {},
                         "./dev metal builds it");
  std::vector<Outcome> outcomes;
  for (const Bench& bench : benches_of(options)) {
    for (const Scenario& scenario : some) {
      fmt::print(stderr, "metal: {} on QEMU {}\n", scenario.name, bench.release);
      for (Outcome& outcome : scenario.run(bench)) outcomes.push_back(std::move(outcome));
    }
  }
  fmt::print("{}", table_of(outcomes));
  return std::ranges::all_of(outcomes, &Outcome::passed) ? 0 : 1;
}

}  // namespace
}  // namespace metal_test

int main(int argc, char** argv) {
  metal_test::Options options;
  CLI::App app{"Live update of bare-metal kernels under QEMU, watched from outside."};
  app.add_option("scenario", options.names, "which; all of them otherwise");
  app.add_option("--qemu", options.releases, "only this release: 7 or 10 (may be given again)")
      ->check(CLI::IsMember({7u, 10u}));
  app.add_option("--qemu-binary", options.binary, "this qemu-system-x86_64");
  app.add_option("--image", options.image, "this kernel image");
  app.add_option("--logs", options.logs, "where logs and traces go");
  app.add_flag("--keep", options.keep, "keep guest RAM as it was at the end of each run, too");
  app.add_flag("--list", options.list, "name the scenarios");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    return metal_test::run(options);
  } catch (const host::RunError& error) {
    std::cerr << "metal: " << error.what() << '\n';
    if (!error.likely_why().empty()) std::cerr << "  likely: " << error.likely_why() << '\n';
    if (!error.what_next().empty()) std::cerr << "  next: " << error.what_next() << '\n';
    return static_cast<int>(error.code());
  } catch (const std::filesystem::filesystem_error& error) {
    std::cerr << "metal: " << error.what() << '\n';
    return static_cast<int>(host::ExitCode::InputMissing);
  }
}
