// The guest after the jump, one step at a time: what can be taken back is taken back and replaced, what cannot is left,
// and each thing says how it went. The VMM of vmm/ gives up at the first failure; this one does not.
#pragma once

#include "host/model/model_session.hpp"
#include "vmm/report.hpp"

namespace untrusted {

using namespace holdfast;  // NOLINT

/// How one step went: errno, and which call said it.
struct Step {
  i32 error = -1;  // -1: it was not tried
  char call[sizeof vmm::Report::step]{};

  [[nodiscard]] bool ok() const { return error == 0; }
};

/// What became of the handover. Plain data: it crosses a pipe.
struct Recovery {
  Step session, state, memory, iommufd, bystander, finish, drop;
  Step device[2];  // retrieved, compared, replaced
};

/// The guest's half of a live update: in its own process, with every file that came back.
class Survivor {
 public:
  Survivor(host::ModelSession::Context& context, const vmm::Options& options);

  /// Takes back and replaces what can be.
  void recover();
  void start_bystander();
  /// Finishes the session; if that is refused, closes everything and drops it.
  void finish_or_drop();
  /// Fills all free memory: what was freed wrongly is overwritten now.
  void fill_memory();

  [[nodiscard]] const Recovery& recovery() const { return x_recovery; }

 private:
  void recover_device(u32 device);

  host::ModelSession::Context& x_context;
  const vmm::Options& x_options;
  Recovery x_recovery;
  i32 x_session = -1, x_memory = -1, x_state = -1, x_iommufd = -1;
  i32 x_devices[2] = {-1, -1};
};

}  // namespace untrusted
