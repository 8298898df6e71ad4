// The other end of the network card's wire: sends numbered frames at a steady rate and reads what the guest answers.
//
// The wire is a connected pair of datagram sockets, one frame each; where the card takes none the feeder waits, so the
// wire loses nothing. After a stall it goes on at its rate and does not catch up; how long it stalled, and the rate
// that it reached all the same, are counted. Threads: one of its own from start() to stop(); counts are read after
// stop(). Failure: RunError at creation; a closed wire ends the thread.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "holdfast/base/types.hpp"
#include "host/unique_fd.hpp"

namespace metal_test {

using namespace holdfast;  // NOLINT: a test of the library

struct FeedCounts {
  u64 sent = 0;
  u64 answers = 0;        // frames of the guest that are as they should be
  u64 wrong_answers = 0;  // ... that are not, or that say less than one before
  u64 reached = 0;        // the number in the last answer
  u64 stalls = 0;         // how often it was late, because the card took nothing for a while or it did not run itself
  double stalled_seconds = 0;
  double seconds = 0;  // from the first frame to the last

  /// Frames per second from the first to the last, stalls included; 0 when there are not two.
  [[nodiscard]] double rate() const { return sent < 2 || seconds <= 0 ? 0 : static_cast<double>(sent - 1) / seconds; }
};

class Feeder {
 public:
  Feeder(u64 frames, u64 frames_per_second);
  ~Feeder() { stop(); }
  Feeder(const Feeder&) = delete;
  Feeder& operator=(const Feeder&) = delete;

  /// The descriptor that QEMU gets; closed here with close_card_end() once it has it.
  [[nodiscard]] int card_end() const { return x_card.get(); }
  void close_card_end() { x_card.reset(); }

  void start();
  /// Ends the thread. May be called again.
  FeedCounts stop();

 private:
  void feed();
  void read_answers();
  /// False: the wire is closed.
  bool send_next();

  using Clock = std::chrono::steady_clock;

  u64 x_frames;
  u64 x_rate;
  host::UniqueFd x_wire;
  host::UniqueFd x_card;
  std::atomic<bool> x_ending = false;
  FeedCounts x_counts;  // of the thread while it runs
  Clock::time_point x_first_sent;
  std::thread x_thread;
};

}  // namespace metal_test
