// The ioctls of /dev/liveupdate and of sessions: see device.hpp.
#include "holdfast/luo/device.hpp"

#include "holdfast/luo/ioctl.hpp"
#include "holdfast/luo/orchestrator.hpp"
#include "uapi/holdfast/liveupdate.h"

namespace holdfast::luo {

namespace {

constexpr u32 open_read_write = 2;  // O_RDWR

/// What decides before the argument is looked at. The order is Linux's: number, address, whole command.
Status check_command(CallContext& call, u32 command, u64 argument, std::initializer_list<u32> known) {
  const auto is_number = [&](u32 candidate) { return (candidate & 0xff) == (command & 0xff); };
  if (std::none_of(known.begin(), known.end(), is_number)) return Code::Invalid;
  TRY(read_size(call, argument));
  return std::find(known.begin(), known.end(), command) != known.end() ? Status{} : Code::NotIoctl;
}

/// Installs @p file and tells the caller the descriptor; all or nothing.
template <class Argument>
Result<u64> hand_out(CallContext& call, u64 address, Argument argument, FileRef file) {
  auto* session = file_cast<SessionFile>(file.get());
  TRY_ASSIGN(const i32 fd, call.fds.install(std::move(file)));
  argument.fd = fd;
  if (const Status written = write_back(call, address, argument); !written.ok()) {
    MUST(call.fds.close(fd), "a descriptor that was just installed can be closed");
    return written.error();
  }
  if (session != nullptr) session->handed_out();
  return 0;
}

}  // namespace

DeviceFile::DeviceFile(Orchestrator& orchestrator) : File(open_read_write), x_orchestrator(orchestrator) {}

void DeviceFile::release() { x_orchestrator.device_closed(*this); }

Result<u64> DeviceFile::ioctl(CallContext& call, u32 command, u64 argument) {
  if (x_orchestrator.policy() == Policy::Linux && (command & 0xff) == (LIVEUPDATE_IOCTL_DROP_SESSION & 0xff))
    return Code::Invalid;
  TRY(check_command(
      call, command, argument,
      {LIVEUPDATE_IOCTL_CREATE_SESSION, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, LIVEUPDATE_IOCTL_DROP_SESSION}));
  switch (command) {
    case LIVEUPDATE_IOCTL_CREATE_SESSION: return create_session(call, argument);
    case LIVEUPDATE_IOCTL_RETRIEVE_SESSION: return retrieve_session(call, argument);
    default: return drop_session(call, argument);
  }
}

Result<u64> DeviceFile::create_session(CallContext& call, u64 argument) {
  TRY_ASSIGN(const auto create, read_argument<liveupdate_ioctl_create_session>(call, argument));
  TRY_ASSIGN(FileRef session, x_orchestrator.create_session(create.name));
  return hand_out(call, argument, create, std::move(session));
}

Result<u64> DeviceFile::retrieve_session(CallContext& call, u64 argument) {
  TRY_ASSIGN(const auto retrieve, read_argument<liveupdate_ioctl_retrieve_session>(call, argument));
  TRY_ASSIGN(FileRef session, x_orchestrator.retrieve_session(retrieve.name));
  return hand_out(call, argument, retrieve, std::move(session));
}

Result<u64> DeviceFile::drop_session(CallContext& call, u64 argument) {
  TRY_ASSIGN(const auto drop, read_argument<liveupdate_ioctl_drop_session>(call, argument));
  if (drop.reserved != 0) return Code::Invalid;
  TRY(x_orchestrator.drop_session(drop.name));
  return 0;
}

SessionFile::SessionFile(Orchestrator& orchestrator) : File(open_read_write), x_orchestrator(orchestrator) {}

void SessionFile::release() {
  if (x_outgoing != nullptr)
    x_orchestrator.outgoing_closed(*this, *x_outgoing);
  else
    x_orchestrator.incoming_closed(*this, *x_incoming, x_handed_out);
}

Result<u64> SessionFile::ioctl(CallContext& call, u32 command, u64 argument) {
  TRY(check_command(call, command, argument,
                    {LIVEUPDATE_SESSION_PRESERVE_FD, LIVEUPDATE_SESSION_RETRIEVE_FD, LIVEUPDATE_SESSION_FINISH}));
  switch (command) {
    case LIVEUPDATE_SESSION_PRESERVE_FD: return preserve_fd(call, argument);
    case LIVEUPDATE_SESSION_RETRIEVE_FD: return retrieve_fd(call, argument);
    default: return finish(call, argument);
  }
}

Result<u64> SessionFile::preserve_fd(CallContext& call, u64 argument) {
  TRY_ASSIGN(const auto preserve, read_argument<liveupdate_session_preserve_fd>(call, argument));
  if (x_outgoing == nullptr) return x_orchestrator.refuse_preserve(*x_incoming, preserve.token);
  TRY(x_orchestrator.preserve_file(*x_outgoing, call.fds, preserve.fd, preserve.token));
  return 0;
}

Result<u64> SessionFile::retrieve_fd(CallContext& call, u64 argument) {
  TRY_ASSIGN(const auto retrieve, read_argument<liveupdate_session_retrieve_fd>(call, argument));
  if (x_incoming == nullptr) return x_orchestrator.refuse_retrieve(*x_outgoing, retrieve.token);
  TRY_ASSIGN(FileRef file, x_orchestrator.retrieve_file(*x_incoming, retrieve.token));
  return hand_out(call, argument, retrieve, std::move(file));
}

Result<u64> SessionFile::finish(CallContext& call, u64 argument) {
  TRY(read_argument<liveupdate_session_finish>(call, argument));
  if (x_incoming == nullptr) {
    TRY(x_orchestrator.refuse_finish(*x_outgoing));
    return 0;
  }
  TRY(x_orchestrator.finish_session(*x_incoming));
  return 0;
}

}  // namespace holdfast::luo
