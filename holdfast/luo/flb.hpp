// Flb: file-lifecycle-bound data: one object of a subsystem that crosses the jump as long as any file that needs it
// does.
//
// An FLB is attached to file handlers. It is preserved before the first file of any of them and unpreserved after the
// last; in the next kernel it is finished after the last of their incoming files. Outgoing and incoming are
// independent: the next live update may be prepared before the previous one is finished. Threads: called under the
// orchestrator's mutex (LockRank::Orchestrator).
#pragma once

#include <string_view>

#include "holdfast/base/list.hpp"
#include "holdfast/base/result.hpp"

namespace holdfast::luo {

class Orchestrator;

class Flb {
 public:
  /// Constant; 1..47 characters.
  [[nodiscard]] virtual std::string_view compatible() const = 0;
  /// Makes the outgoing object; the value crosses the jump (usually the address of a preserved record).
  /// A failure leaves nothing behind.
  virtual Result<u64> preserve() = 0;
  virtual void unpreserve() = 0;
  /// The incoming object is needed no longer: frees it.
  virtual void finish() = 0;

  Flb() = default;
  Flb(const Flb&) = delete;
  Flb& operator=(const Flb&) = delete;

 protected:
  ~Flb() = default;

 private:
  friend class Orchestrator;
  ListHook x_registered;
  u64 x_outgoing_files = 0;  // preserved files that depend on it
  u64 x_outgoing_data = 0;
  u64 x_outgoing_slot = 0;   // in the FLB block, while x_outgoing_files != 0
  u64 x_incoming_files = 0;  // incoming files of its handlers that are not finished
  bool x_incoming = false;   // the previous kernel left one, and it is not finished
};

}  // namespace holdfast::luo
