// What a device sees of the tables under proof: memory as far as it was flushed, a top that the driver named, and walks
// by the naive walkers, which mark what they use.
//
// Where tables are not coherent, hardware may find a line either as the CPU has it or as it was last flushed: both
// views are there, and a proof has to hold in both. Threads: one. Failure: values.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#include "holdfast/memory/test_world.hpp"
#include "sim/walk/walk.hpp"
#include "tests/page_tables/configuration.hpp"

namespace page_table_proofs {

using namespace page_tables;  // NOLINT: the same configurations, the same words

/// A world whose caches must be flushed: `flushed` is what memory holds.
class ProofWorld final : public TestWorld {
 public:
  explicit ProofWorld(u64 ram_bytes)
      : TestWorld(ram_bytes), x_flushed(static_cast<u64*>(std::calloc(ram_bytes, 1)), &std::free) {
    if (x_flushed == nullptr) throw std::bad_alloc();
  }

  void flush_cache(const void* start, std::size_t size_bytes) override;
  /// As the CPU sees it.
  [[nodiscard]] walk::ReadWord cached() const { return words_at(reinterpret_cast<const u64*>(direct_map())); }
  /// As it was flushed.
  [[nodiscard]] walk::ReadWord flushed() const { return words_at(x_flushed.get()); }
  /// Hardware changes an entry.
  void update(const walk::Update& update);

 private:
  [[nodiscard]] walk::ReadWord words_at(const u64* base) const;

  std::unique_ptr<u64, void (*)(void*)> x_flushed;  // not touched where nothing is flushed
};

/// RAM that holds tables, and the library's view of it.
struct ProofMachine {
  ProofWorld world{u64{48} << 20};
  TestMemory host{world};
};

/// Where hardware begins.
struct HardwareTop {
  PhysAddr top;
  unsigned levels = 0;
};

/// One access by a unit that sets accessed and dirty bits where the format has them set by hardware.
[[nodiscard]] walk::WalkResult walk_once(const Configuration& configuration, const walk::ReadWord& read,
                                         const HardwareTop& top, u64 iova, walk::Access access);

/// True when the walk found a page, whether or not it may be read.
[[nodiscard]] inline bool is_found(const walk::WalkResult& result) {
  return result.fault == walk::Fault::None || result.fault == walk::Fault::Permission;
}

}  // namespace page_table_proofs
