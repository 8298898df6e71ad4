// See bench.hpp.
#include "tests/metal/bench.hpp"

#include <fmt/format.h>

#include "host/run_error.hpp"

namespace metal_test {
namespace {

using host::ExitCode;
using host::RunError;

Bench bench_on(const qemu::Binary& binary, unsigned release, const BenchChoice& choice) {
  return {binary, release, choice.image, choice.logs, choice.keeps_memory};
}

Bench bench_on_given(const BenchChoice& choice) {
  const qemu::Binary binary{choice.binary, {}, {}};
  const auto release = qemu::major_version(binary);
  if (!release) throw RunError(ExitCode::InputMissing, choice.binary + " is no QEMU that runs");
  if (*release < oldest_release)
    throw RunError(ExitCode::InputMissing, fmt::format("{} is QEMU {}, which is too old", choice.binary, *release), {},
                   fmt::format("QEMU {} or newer is needed (Debian 12: qemu-system-x86)", oldest_release));
  return bench_on(binary, *release, choice);
}

}  // namespace

std::vector<Bench> benches_of(const BenchChoice& choice) {
  if (!std::filesystem::exists(choice.image))
    throw RunError(ExitCode::InputMissing, "there is no kernel image " + choice.image.string(), {},
                   "./dev metal builds it");
  if (!choice.binary.empty()) return {bench_on_given(choice)};
  std::vector<Bench> benches;
  const std::vector<unsigned> wanted = choice.releases.empty() ? std::vector<unsigned>{7, 10} : choice.releases;
  for (const unsigned release : wanted) {
    if (const auto binary = qemu::find_binary(static_cast<qemu::Release>(release), qemu::Target::X86))
      benches.push_back(bench_on(*binary, release, choice));
    else
      fmt::print(stderr, "metal: QEMU {} is not there: skipped\n", release);
  }
  if (benches.empty())
    throw RunError(ExitCode::InputMissing, "there is no QEMU to run on", {},
                   "Debian 12: apt-get install qemu-system-x86; QEMU 10: tools/fetch_qemu10.py");
  return benches;
}

}  // namespace metal_test
