// One random domain, refereed: tables built by holdfast/pt, DMA through QEMU's IOMMU, and every request's outcome
// compared with what our table's lookup and our naive walker say, and those with what was mapped.
//
// Compared for each piece of a request that lies in one page: whether it was let through, where its bytes came from or
// went to (and that their neighbours are untouched), and for the first piece refused the fault record: code, page and
// direction. Everything about a domain follows from its seed.
// Threads: one. Failure: RunError where the machine fails; disagreements are counted and described.
#pragma once

#include <random>

#include "holdfast/memory/own_ram.hpp"
#include "tests/referee/machine.hpp"

namespace referee {

class Random {
 public:
  explicit Random(u64 seed) : x_engine(seed) {}
  u64 bits() { return x_engine(); }
  /// 0 .. @p bound - 1.
  u64 below(u64 bound) { return x_engine() % bound; }
  bool one_in(u64 n) { return below(n) == 0; }

 private:
  std::mt19937_64 x_engine;
};

struct Score {
  u64 domains = 0;
  u64 dmas = 0;     // requests compared; what it takes to see their effect is not counted
  u64 refused = 0;  // of them, those that were to fault at least in part
  u64 agreed = 0;
  u64 disagreed = 0;
  std::vector<std::string> disagreements;  // the first few

  Score& operator+=(const Score& other);
};

/// Memory in a part of a machine's RAM.
class TableMemory {
 public:
  /// For tables.
  explicit TableMemory(const SharedRam& ram) : TableMemory(ram, ram.tables()) {}
  TableMemory(const SharedRam& ram, PhysRange part);
  [[nodiscard]] Memory& memory() { return x_own.memory(); }

 private:
  OwnRam x_own;
};

/// Test hook: a machine that is not as our walker says.
enum class Requests : u8 { AsJudged, OnePageFurther };

[[nodiscard]] Score referee_domain(Machine& machine, TableMemory& memory, u64 seed,
                                   Requests requests = Requests::AsJudged);

}  // namespace referee
