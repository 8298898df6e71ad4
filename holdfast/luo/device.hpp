// DeviceFile and SessionFile: /dev/liveupdate and its sessions as files, with Linux's ioctls
// (uapi/holdfast/liveupdate.h).
//
// They only check arguments and move descriptors; what the calls mean is the Orchestrator's. Closing the last reference
// of a session undoes an outgoing session, and tries to finish an incoming one.
// Errors common to all: Invalid (unknown number, structure too short), NotIoctl (right number, other type, direction or
// size bits), TooBig (longer structure with a tail that is not zero), Fault.
#pragma once

#include "holdfast/luo/file.hpp"

namespace holdfast::luo {

class Orchestrator;
class OutgoingSession;
class IncomingSession;

class DeviceFile final : public File {
 public:
  static constexpr char file_kind = 0;
  explicit DeviceFile(Orchestrator& orchestrator);
  [[nodiscard]] const void* kind() const override { return &file_kind; }
  Result<u64> ioctl(CallContext& call, u32 command, u64 argument) override;

 private:
  void release() override;
  Result<u64> create_session(CallContext& call, u64 argument);
  Result<u64> retrieve_session(CallContext& call, u64 argument);
  Result<u64> drop_session(CallContext& call, u64 argument);

  Orchestrator& x_orchestrator;
};

class SessionFile final : public File {
 public:
  static constexpr char file_kind = 0;
  explicit SessionFile(Orchestrator& orchestrator);
  void stand_for(OutgoingSession& session) { x_outgoing = &session; }
  void stand_for(IncomingSession& session) { x_incoming = &session; }
  /// The caller has its descriptor: from now on closing means something.
  void handed_out() { x_handed_out = true; }

  [[nodiscard]] const void* kind() const override { return &file_kind; }
  Result<u64> ioctl(CallContext& call, u32 command, u64 argument) override;

 private:
  void release() override;
  Result<u64> preserve_fd(CallContext& call, u64 argument);
  Result<u64> retrieve_fd(CallContext& call, u64 argument);
  Result<u64> finish(CallContext& call, u64 argument);

  Orchestrator& x_orchestrator;
  OutgoingSession* x_outgoing = nullptr;  // one of the two
  IncomingSession* x_incoming = nullptr;
  bool x_handed_out = false;
};

}  // namespace holdfast::luo
