// Orchestrator: the freeze and its roll-back. All of it runs before the last consent of the kernel; nothing here is
// done in the blackout.
#include "holdfast/luo/orchestrator.hpp"

namespace holdfast::luo {

Status Orchestrator::freeze() {
  Guard guard(x_mutex);
  if (x_frozen) return Code::Busy;
  Status status = pass_on_all();
  if (status.ok()) status = ask_for_consent();
  if (!status.ok()) return cancel_all_passed_on(), status;
  write_counts();
  x_frozen = true;
  return {};
}

void Orchestrator::unfreeze() {
  Guard guard(x_mutex);
  if (!x_frozen) return;
  clear_counts();
  for (OutgoingSession* session = x_outgoing.back(); session != nullptr; session = x_outgoing.previous(*session))
    if (session->x_passed_on == nullptr) withdraw_consent(*session, session->x_files.back());
  cancel_all_passed_on();
  x_frozen = false;
  for (OutgoingSession& session : x_outgoing)
    if (session.x_closed) unpreserve_session(session);
}

Status Orchestrator::ask_for_consent() {
  for (OutgoingSession& session : x_outgoing) {
    if (session.x_passed_on != nullptr) continue;
    for (OutgoingFile& file : session.x_files) {
      x_memory.touches.file();
      const Status consent = file.handler->freeze(*file.file, file.data);
      if (consent.ok()) continue;
      say(LogLevel::Warning, "a file refused the freeze, session", session.name(), consent.code());
      withdraw_consent(session, session.x_files.previous(file));
      for (OutgoingSession* earlier = x_outgoing.previous(session); earlier != nullptr;
           earlier = x_outgoing.previous(*earlier))
        if (earlier->x_passed_on == nullptr) withdraw_consent(*earlier, earlier->x_files.back());
      return consent;
    }
  }
  return {};
}

void Orchestrator::withdraw_consent(OutgoingSession& session, OutgoingFile* from) {
  for (OutgoingFile* file = from; file != nullptr; file = session.x_files.previous(*file))
    file->handler->unfreeze(*file->file, file->data);
}

/// What cannot be passed on ends the freeze: going on would lose it without anybody's decision. It is the
/// administrator's to give up, and the log says what and how.
Status Orchestrator::pass_on_all() {
  if (x_lost_sessions != 0)
    say(LogLevel::Warning, "sessions that nobody could ask for are left behind, and what they held is lost, under",
        abi::luo::subtree_name);
  for (IncomingSession& session : x_incoming)
    if (!session.x_finished) TRY(pass_on(session));
  return {};
}

Status Orchestrator::pass_on(IncomingSession& incoming) {
  const auto refuse = [&](Code why) -> Status {
    say(LogLevel::Error, "the live update is refused: cannot pass on session", incoming.name(), why);
    if (why == Code::NoMemory) return why;
    say(LogLevel::Error,
        x_policy == Policy::Linux
            ? "it has to be finished; policy linux knows no other way to be rid of session"
            : "finish it, or close it and give it up (LIVEUPDATE_IOCTL_DROP_SESSION on /dev/liveupdate): session",
        incoming.name());
    return why;
  };
  if (incoming.x_damage != Code::Ok) return refuse(incoming.x_damage);
  if (x_outgoing_by_name.find(incoming.x_name) != nullptr) return refuse(Code::Exists);
  const auto session = add_session(incoming.x_name);
  if (!session.ok()) return refuse(session.code());
  (*session)->x_passed_on = &incoming;
  for (IncomingFile& file : incoming.x_files) {
    const Status status = pass_on_file(**session, file);
    if (!status.ok()) return refuse(status.code());
  }
  return {};
}

Status Orchestrator::pass_on_file(OutgoingSession& session, IncomingFile& file) {
  if (file.state == IncomingFile::State::Unavailable) return file.failure;
  if (file.handler == nullptr) return Code::NotSupported;
  // Preserved anew in a session of this kernel: it cannot cross twice. The old session wants to be finished first.
  if (file.file && is_preserved(*file.file)) return Code::Busy;
  x_memory.touches.file();
  TRY_ASSIGN(OutgoingFile * entry, add_file(session, *file.handler, file.file, file.token));
  const auto data = file.handler->pass_on(file.file.get(), file.data);
  if (!data.ok()) return discard_file(*entry), data.error();
  publish_file(*entry, *data);
  return {};
}

void Orchestrator::cancel_all_passed_on() {
  for (OutgoingSession* session = x_outgoing.back(); session != nullptr;) {
    OutgoingSession* earlier = x_outgoing.previous(*session);
    if (session->x_passed_on != nullptr) cancel_pass_on(*session);
    session = earlier;
  }
}

void Orchestrator::cancel_pass_on(OutgoingSession& session) {
  while (OutgoingFile* newest = session.x_files.back()) {
    IncomingFile* incoming = session.x_passed_on->x_by_token.find(newest->token);
    newest->handler->cancel_pass_on(newest->file.get(), incoming->data, newest->data);
    remove_newest_file(session);
  }
  remove_session(session);
}

void Orchestrator::write_counts() {
  for (const OutgoingSession& session : x_outgoing) {
    x_memory.touches.record();
    x_session_block.record<abi::luo::SessionRecord>(session.x_slot)->file_set.count = session.x_file_count;
  }
  x_session_block.header<abi::luo::SessionHeader>()->count = x_outgoing_count;
  x_flb_block.header<abi::luo::FlbHeader>()->count = x_outgoing_flb_count;
  write_tree_number({}, abi::luo::number_property, x_number + 1);
}

void Orchestrator::clear_counts() {
  for (const OutgoingSession& session : x_outgoing)
    x_session_block.record<abi::luo::SessionRecord>(session.x_slot)->file_set.count = 0;
  x_session_block.header<abi::luo::SessionHeader>()->count = 0;
  x_flb_block.header<abi::luo::FlbHeader>()->count = 0;
  write_tree_number({}, abi::luo::number_property, 0);
}

}  // namespace holdfast::luo
