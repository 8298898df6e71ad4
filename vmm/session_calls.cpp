#include "vmm/session_calls.hpp"

#include "uapi/holdfast/holdfast.h"
#include "vmm/file_calls.hpp"

namespace vmm {
namespace {

template <class T>
void name_session(T& argument, std::string_view name) {
  argument.size = sizeof argument;
  for (u64 i = 0; i < name.size() && i + 1 < sizeof argument.name; ++i) argument.name[i] = static_cast<u8>(name[i]);
}

bool open_liveupdate(Calls& calls, i32& fd) {
  fd = static_cast<i32>(calls.system().open("/dev/liveupdate"));
  return calls.check(fd, "open of /dev/liveupdate");
}

}  // namespace

bool create_session(Calls& calls, std::string_view name, i32& session) {
  i32 device = -1;
  if (!open_liveupdate(calls, device)) return false;
  liveupdate_ioctl_create_session create{};
  name_session(create, name);
  const bool created = ioctl(calls, device, LIVEUPDATE_IOCTL_CREATE_SESSION, create, "LIVEUPDATE_IOCTL_CREATE_SESSION");
  calls.system().close(device);
  if (created) session = create.fd;
  return created;
}

bool retrieve_session(Calls& calls, std::string_view name, i32& session, Presence& found) {
  found = Presence::Absent;
  i32 device = -1;
  if (!open_liveupdate(calls, device)) return false;
  liveupdate_ioctl_retrieve_session retrieve{};
  name_session(retrieve, name);
  const i64 answer = calls.system().ioctl(device, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, &retrieve);
  calls.system().close(device);
  if (answer == -to_errno(Code::NotFound)) return true;
  if (!calls.check(answer, "LIVEUPDATE_IOCTL_RETRIEVE_SESSION")) return false;
  found = Presence::Present;
  session = retrieve.fd;
  return true;
}

bool preserve_file(Calls& calls, i32 session, i32 fd, u64 token, const char* step) {
  liveupdate_session_preserve_fd preserve{};
  preserve.size = sizeof preserve;
  preserve.fd = fd;
  preserve.token = token;
  return ioctl(calls, session, LIVEUPDATE_SESSION_PRESERVE_FD, preserve, step);
}

bool retrieve_file(Calls& calls, i32 session, u64 token, i32& fd, const char* step) {
  liveupdate_session_retrieve_fd retrieve{};
  retrieve.size = sizeof retrieve;
  retrieve.token = token;
  if (!ioctl(calls, session, LIVEUPDATE_SESSION_RETRIEVE_FD, retrieve, step)) return false;
  fd = retrieve.fd;
  return true;
}

bool finish_session(Calls& calls, i32& session) {
  liveupdate_session_finish finish{};
  finish.size = sizeof finish;
  if (!ioctl(calls, session, LIVEUPDATE_SESSION_FINISH, finish, "LIVEUPDATE_SESSION_FINISH")) return false;
  const i64 closed = calls.system().close(session);
  session = -1;
  return calls.check(closed, "close of the session");
}

}  // namespace vmm
