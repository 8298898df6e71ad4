// Live update of bare-metal kernels under QEMU, from outside.
//
//   metal [SCENARIO...] [--qemu 7|10] [--qemu-binary FILE] [--image FILE] [--logs FOLDER] [--keep] [--list]
//
// stdout: one table, a line per run, what failed below it. stderr: progress. Exit codes: 0 everything is as it must be,
// 1 something is not, or a machine could not be run, 2 usage, 3 no QEMU or no image, 130 interrupted.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "host/run_error.hpp"
#include "tests/metal/scenario.hpp"

namespace metal_test {
namespace {

struct Options {
  std::vector<std::string> names;
  BenchChoice benches{.binary = {}, .releases = {}, .image = HOLDFAST_METAL_IMAGE, .logs = HOLDFAST_METAL_LOGS};
  bool list = false;
};

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
  std::vector<Outcome> outcomes;
  for (const Bench& bench : benches_of(options.benches)) {
    for (const Scenario& scenario : some) {
      fmt::print(stderr, "metal: {} on QEMU {}\n", scenario.name, bench.release);
      for (Outcome& outcome : run_scenario(scenario, bench)) outcomes.push_back(std::move(outcome));
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
  app.add_option("--qemu", options.benches.releases, "only this release: 7 or 10 (may be given again)")
      ->check(CLI::IsMember({7u, 10u}));
  app.add_option("--qemu-binary", options.benches.binary, "this qemu-system-x86_64");
  app.add_option("--image", options.benches.image, "this kernel image");
  app.add_option("--logs", options.benches.logs, "where logs and traces go");
  app.add_flag("--keep", options.benches.keeps_memory, "keep guest RAM as it was at the end of each run, too");
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
