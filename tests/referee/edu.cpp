// The registers of edu. See edu.hpp.
#include "tests/referee/edu.hpp"

#include <chrono>
#include <thread>

#include "host/run_error.hpp"

namespace referee {
namespace {

constexpr u32 edu_id = 0x11e81234;
constexpr u64 from_offset = 0x80;
constexpr u64 to_offset = 0x88;
constexpr u64 length_offset = 0x90;
constexpr u64 command_offset = 0x98;
constexpr u64 running = 1;
constexpr unsigned eager_polls = 20;
constexpr std::chrono::microseconds pause{50};

[[noreturn]] void fail(const char* what) { throw host::RunError(host::ExitCode::Internal, what); }

}  // namespace

Edu::Edu(Qtest& qtest, PciConfig& config, u64 bar) : x_qtest(qtest), x_bar(bar) {
  if (config.read(0) != edu_id) fail("there is no edu where it was put");
  config.write(0x10, static_cast<u32>(bar));
  config.write(4, 6);  // memory space, bus master
  if ((qtest.read_l(bar) & 0xffff) != 0xed) fail("the registers of edu are not where they were placed");
}

void Edu::run(u64 from, u64 to, u32 length, u64 command) {
  if (length == 0 || length > longest) fail("edu cannot copy so much");
  x_qtest.write_q(x_bar + from_offset, from);
  x_qtest.write_q(x_bar + to_offset, to);
  x_qtest.write_q(x_bar + length_offset, length);
  x_qtest.write_q(x_bar + command_offset, command);
  wait();
  ++x_count;
}

// QEMU answers and runs the device under one lock: who asks without pause keeps the device from being served.
void Edu::wait() {
  const auto end = std::chrono::steady_clock::now() + Qtest::time_limit;
  for (unsigned polls = 0; (x_qtest.read_q(x_bar + command_offset) & running) != 0; ++polls) {
    if (polls < eager_polls) continue;
    if (std::chrono::steady_clock::now() > end) fail("edu does not finish its copy");
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace referee
