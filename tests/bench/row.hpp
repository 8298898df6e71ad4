// One row of `./dev bench`: what an operation costs beside its yardstick, both measured in one run.
//
//   void map_4k(benchmark::State& state) {
//     Row row(state, "locked exchange in L1", 1.4);
//     for (auto _ : state) row.round(512, [&] { ... }, 512, [&] { ... });
//   }
//   BENCHMARK(map_4k)->UseManualTime();
//
// Each round times the operation, then the yardstick: what slows the machine down for a while slows down both. When the
// row goes out of scope it writes the counters that tools/run_benchmarks.py reads. Threads: one.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

namespace holdfast::bench {

class Row {
 public:
  /// @p target: the ratio that is to be met.
  Row(benchmark::State& state, const std::string& yardstick, double target) : Row(state, yardstick) {
    state.counters["target"] = target;
  }
  /// Without a target.
  Row(benchmark::State& state, const std::string& yardstick) : x_state(state) { state.SetLabel(yardstick); }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  ~Row() {
    if (x_ns.empty()) return;
    x_state.counters["ns"] = median(x_ns);
    if (!x_yardstick_ns.empty()) x_state.counters["yardstick_ns"] = median(x_yardstick_ns);
  }

  /// @p operation deals with @p items items, @p yardstick with @p yardstick_items of its own.
  template <class Operation, class Yardstick>
  void round(std::size_t items, Operation&& operation, std::size_t yardstick_items, Yardstick&& yardstick) {
    round(items, operation, [] {}, yardstick_items, yardstick);
  }
  /// @p between runs between the two, and is not timed.
  template <class Operation, class Between, class Yardstick>
  void round(std::size_t items, Operation&& operation, Between&& between, std::size_t yardstick_items,
             Yardstick&& yardstick) {
    round(items, operation);
    between();
    x_yardstick_ns.push_back(time_ns(yardstick) / static_cast<double>(yardstick_items));
  }
  /// A row that is its own measure.
  template <class Operation>
  void round(std::size_t items, Operation&& operation) {
    const double ns = time_ns(operation);
    x_ns.push_back(ns / static_cast<double>(items));
    x_state.SetIterationTime(ns * 1e-9);
  }

 private:
  template <class F>
  static double time_ns(F&& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    benchmark::ClobberMemory();
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
  }
  static double median(std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  }

  benchmark::State& x_state;
  std::vector<double> x_ns;
  std::vector<double> x_yardstick_ns;
};

}  // namespace holdfast::bench
