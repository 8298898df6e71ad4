// FileHandler: how one kind of file crosses a live update. A subsystem registers one handler per kind.
//
// Life of a file in the outgoing kernel: can_preserve, preserve, [freeze, unfreeze]*, unpreserve.
// In the incoming kernel: retrieve (once; its failure is remembered), can_finish, finish; or drop; or, when the next
// jump comes first, pass_on [cancel_pass_on].
// A method that fails leaves nothing behind: a failed preserve is never followed by unpreserve, a failed freeze never
// by unfreeze, a failed pass_on never by cancel_pass_on. The returned or given u64 `data` is the handler's own; it
// crosses the jump in the file record and is untrusted in the next kernel. Threads: called under the orchestrator's
// mutex (LockRank::Orchestrator): a handler may take locks of higher rank and must not call the Orchestrator; it may
// use the session it is given.
#pragma once

#include <string_view>

#include "holdfast/base/list.hpp"
#include "holdfast/base/result.hpp"
#include "holdfast/luo/file.hpp"

namespace holdfast::luo {

class Orchestrator;
class OutgoingSession;
class IncomingSession;

class FileHandler {
 public:
  /// Constant; 1..47 characters; names kind and version of the record that data leads to.
  [[nodiscard]] virtual std::string_view compatible() const = 0;

  // Outgoing.

  /// The first registered handler that says yes gets the file.
  [[nodiscard]] virtual bool can_preserve(const File& file) = 0;
  virtual Result<u64> preserve(OutgoingSession& session, File& file, u64 token) = 0;
  virtual void unpreserve(OutgoingSession& session, File& file, u64 data) = 0;
  /// Last consent of this file. The default consents.
  virtual Status freeze(File& /*file*/, u64 /*data*/) { return {}; }
  virtual void unfreeze(File& /*file*/, u64 /*data*/) {}

  // Incoming. `retrieved` is the file if it was retrieved with success, else nullptr.

  virtual Result<FileRef> retrieve(IncomingSession& session, u64 data) = 0;
  [[nodiscard]] virtual bool can_finish(IncomingSession& /*session*/, File* /*retrieved*/, u64 /*data*/) {
    return true;
  }
  /// Frees what crossed, also of a file that was never retrieved.
  virtual void finish(IncomingSession& session, File* retrieved, u64 data) = 0;
  /// The administrator gave the file up: block its devices, free everything. May follow a failed finish.
  virtual void drop(u64 data) = 0;

  // Incoming, not finished, and the next jump is about to come.

  /// Preserves again what came in; the value is the data for the next kernel. Errors: NotSupported by default.
  virtual Result<u64> pass_on(File* /*retrieved*/, u64 /*data*/) { return Code::NotSupported; }
  /// The jump was given up. @p passed_on is what pass_on() answered.
  virtual void cancel_pass_on(File* /*retrieved*/, u64 /*data*/, u64 /*passed_on*/) {}

  FileHandler() = default;
  FileHandler(const FileHandler&) = delete;
  FileHandler& operator=(const FileHandler&) = delete;

 protected:
  ~FileHandler() = default;

 private:
  friend class Orchestrator;
  ListHook x_registered;
  u64 x_incoming_files = 0;  // bound to this handler and not finished
};

}  // namespace holdfast::luo
