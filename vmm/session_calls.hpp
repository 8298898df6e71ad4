// The system calls that guest programs make on /dev/liveupdate and a session, one function each.
//
// All of them: true on success; a failure is kept in Calls together with the step it was in.
#pragma once

#include <string_view>

#include "vmm/call.hpp"

namespace vmm {

enum class Presence : u32 { Absent, Present };

/// @p name has fewer characters than LIVEUPDATE_SESSION_NAME_LENGTH.
bool create_session(Calls& calls, std::string_view name, i32& session);
/// The session that the previous kernel left; @p found says whether there is one. That there is none is no failure.
bool retrieve_session(Calls& calls, std::string_view name, i32& session, Presence& found);
bool preserve_file(Calls& calls, i32 session, i32 fd, u64 token, const char* step);
bool retrieve_file(Calls& calls, i32 session, u64 token, i32& fd, const char* step);
/// Finished and closed.
bool finish_session(Calls& calls, i32& session);

}  // namespace vmm
