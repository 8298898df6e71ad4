// What the VMM is asked to do, and what it tells its starter after each generation. Plain data: it crosses a pipe.
#pragma once

#include "holdfast/base/types.hpp"

namespace vmm {

using namespace holdfast;

inline constexpr u32 max_devices = 16;

enum class DomainLayout : u32 { Separate, Shared };
enum class LeafChoice : u32 { Auto, Only4K };
enum class Preservation : u32 {
  Preserve,
  Nothing
};  // Nothing: the control run, where every device loses its translation

struct Options {
  u32 devices = 3;  // preserved devices: vfio0 .. vfio(devices-1); the bystander is vfio(devices)
  DomainLayout domains = DomainLayout::Separate;
  LeafChoice leaves = LeafChoice::Auto;
  Preservation preservation = Preservation::Preserve;
  u64 mapped_bytes = 256 << 20;  // IOVA space mapped per domain; a multiple of file_bytes
  u64 file_bytes = 64 << 20;     // guest memory, mapped again and again; a power of two
  u64 seed = 1;
  u32 updates = 3;              // updates still to be made, this generation's included
  u32 generation = 0;           // how many kernels ran before this one
  u64 settle_transfers = 2000;  // transfers every device makes before and after an update
};

/// Sums over the preserved devices, found by reading guest memory.
struct Audit {
  u64 lost = 0;
  u64 repeated = 0;
  u64 wrong = 0;
  bool operator==(const Audit&) const = default;
};

enum class Outcome : u32 {
  Running,          // more updates follow: sent just before the jump
  Finished,         // all updates made, engines stopped, guest memory checked
  NothingCameBack,  // control run: the new kernel had no session for us
  Failed,           // `step` and `error` say where and why
};

struct Report {
  u32 generation = 0;
  Outcome outcome = Outcome::Running;
  u64 preserve_ns = 0;  // preserve of the update that this generation starts (0 in the last one)
  u64 retrieve_ns = 0;  // of the update that created this generation (0 in the first one)
  u64 replace_ns = 0;
  u64 finish_ns = 0;
  u64 mapped_bytes = 0;  // over all domains
  Audit audit;           // while engines run: what is certain; Finished: exact, engines stopped
  u32 devices = 0;
  Audit device_audit[max_devices];
  u64 device_transfers[max_devices]{};
  i32 error = 0;    // errno
  char step[96]{};  // which call failed
};

class Reporter {
 public:
  virtual void report(const Report& report) = 0;

 protected:
  ~Reporter() = default;
};

}  // namespace vmm
