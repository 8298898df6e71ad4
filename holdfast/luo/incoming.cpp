// Orchestrator: what the previous kernel left. Reading, retrieving, finishing, dropping.
#include <cstring>

#include "holdfast/luo/device.hpp"
#include "holdfast/luo/orchestrator.hpp"

namespace holdfast::luo {

Result<FileRef> IncomingSession::file(u64 token) {
  IncomingFile* file = x_by_token.find(token);
  if (file == nullptr) return Code::NotFound;
  switch (file->state) {
    case IncomingFile::State::Retrieved: return file->file;
    case IncomingFile::State::Retrieving: return Code::Busy;
    case IncomingFile::State::Failed:
    case IncomingFile::State::Unavailable: return file->failure;
    case IncomingFile::State::Waiting: break;
  }
  if (file->handler == nullptr) return Code::NotSupported;
  file->state = IncomingFile::State::Retrieving;
  auto retrieved = file->handler->retrieve(*this, file->data);
  if (!retrieved.ok()) {
    file->state = IncomingFile::State::Failed;
    file->failure = retrieved.code();
    return retrieved.error();
  }
  file->state = IncomingFile::State::Retrieved;
  file->file = std::move(retrieved).value();
  return file->file;
}

Status Orchestrator::read_incoming(const kho::IncomingMap& incoming) {
  auto stream = IncomingStream::open(x_memory.map, incoming);
  x_incoming_state = stream.code();
  if (stream.ok()) {
    x_number = stream->number();
    x_incoming_state = stream->sessions_state();
    x_stream.emplace(*stream);
  }
  if (x_incoming_state == Code::NoData) {
    say(LogLevel::Warning, "the previous kernel left nothing under", abi::luo::subtree_name);
    return {};
  }
  if (x_incoming_state != Code::Ok) {
    say(LogLevel::Error, "the previous kernel's sessions cannot be read", abi::luo::subtree_name, x_incoming_state);
    return {};
  }
  for (u64 i = 0; i < stream->session_count(); ++i) {
    const Status status = read_session(*stream, i);
    if (!status.ok()) return forget_incoming(), status;
  }
  return {};
}

Status Orchestrator::read_session(const IncomingStream& stream, u64 index) {
  const abi::luo::SessionRecord record = stream.session(index);
  SessionName name;
  std::memcpy(name.bytes.data(), record.name, sizeof record.name);
  const bool has_name = is_proper_string(record.name, sizeof record.name);
  if (!has_name || x_incoming_by_name.find(name) != nullptr) {
    // Nobody could ask for it. Its memory stays reserved, and so does everything that it might lead to.
    ++x_lost_sessions;
    say(LogLevel::Error, has_name ? "second session of the name" : "session without a name or without end of its name",
        name.view(), Code::Corrupt);
    return {};
  }
  TRY_ASSIGN(IncomingSession * session, x_memory.heap.create<IncomingSession>(name));
  x_incoming.push_back(*session);
  x_incoming_by_name.insert(*session);
  ++x_incoming_count;
  const auto block = stream.file_block(record.file_set);
  const bool is_shared =
      block.ok() && block->start != PhysAddr{} && x_incoming_by_files.find(block->start.value) != nullptr;
  if (!block.ok() || is_shared) {
    session->x_damage = Code::Corrupt;
    say(LogLevel::Error, is_shared ? "file records of another session in" : "bad file records in", name.view(),
        Code::Corrupt);
    return {};
  }
  if (block->start == PhysAddr{}) return {};
  session->x_files_block = block->start;
  x_incoming_by_files.insert(*session);
  for (u64 i = 0; i < record.file_set.count; ++i) TRY(read_file(*session, stream.file(*block, i)));
  return {};
}

Status Orchestrator::read_file(IncomingSession& session, const abi::luo::FileRecord& record) {
  TRY_ASSIGN(IncomingFile * file, x_memory.heap.create<IncomingFile>());
  std::memcpy(file->compatible.data(), record.compatible, sizeof record.compatible);
  file->data = record.data;
  file->token = record.token;
  session.x_files.push_back(*file);
  ++session.x_file_count;
  file->has_token = session.x_by_token.find(record.token) == nullptr;
  if (file->has_token) session.x_by_token.insert(*file);
  if (!file->has_token || !is_proper_string(record.compatible, sizeof record.compatible)) {
    file->state = IncomingFile::State::Unavailable;
    file->failure = Code::Corrupt;
    say(LogLevel::Error, file->has_token ? "file of no proper kind in session" : "two files of one token in session",
        session.name(), Code::Corrupt);
    return {};
  }
  for (FileHandler& handler : x_handlers) {
    if (handler.compatible() != file->compatible_view()) continue;
    file->handler = &handler;
    ++handler.x_incoming_files;
    for (const Attachment& attachment : x_attachments)
      if (attachment.handler == &handler) ++attachment.flb->x_incoming_files;
  }
  return {};
}

void Orchestrator::forget_incoming() {
  while (IncomingSession* session = x_incoming.front()) {
    while (IncomingFile* file = session->x_files.front()) forget_file(*session, *file);
    remove_incoming(*session);
  }
  for (Flb& flb : x_flbs) flb.x_incoming = false;
  x_stream.reset();
  x_incoming_state = Code::NoData;
  x_number = x_incoming_count = x_lost_sessions = 0;
}

Result<FileRef> Orchestrator::retrieve_session(NameBytes bytes) {
  TRY_ASSIGN(const SessionName name, read_name(bytes));
  Guard guard(x_mutex);
  if (x_frozen) return Code::Busy;
  IncomingSession* session = x_incoming_by_name.find(name);
  if (session == nullptr)
    return x_incoming_state == Code::Ok || x_incoming_state == Code::NoData ? Code::NotFound : x_incoming_state;
  if (session->x_held) return Code::Invalid;
  if (session->x_damage != Code::Ok) return session->x_damage;
  TRY_ASSIGN(SessionFile * file, x_memory.heap.create<SessionFile>(*this));
  file->stand_for(*session);
  session->x_held = true;
  return FileRef::adopt(file);
}

Result<FileRef> Orchestrator::retrieve_file(IncomingSession& session, u64 token) {
  Guard guard(x_mutex);
  if (x_frozen) return Code::Busy;
  const IncomingFile* entry = session.x_by_token.find(token);
  const bool is_first_try = entry != nullptr && entry->state == IncomingFile::State::Waiting;
  auto file = session.file(token);
  if (!file.ok() && is_first_try)
    say(LogLevel::Warning, "a file cannot be retrieved, session", session.name(), file.code());
  return file;
}

Status Orchestrator::can_finish(IncomingSession& session) {
  for (IncomingFile& file : session.x_files)
    if (file.handler != nullptr && !file.handler->can_finish(session, file.file.get(), file.data)) return Code::Busy;
  return {};
}

Status Orchestrator::finish_session(IncomingSession& session) {
  Guard guard(x_mutex);
  if (x_frozen) return Code::Busy;
  if (session.x_finished) return {};
  TRY(can_finish(session));
  finish_files(session);
  return {};
}

void Orchestrator::finish_files(IncomingSession& session) {
  while (IncomingFile* newest = session.x_files.back()) {
    if (newest->handler != nullptr)
      newest->handler->finish(session, newest->file.get(), newest->data);
    else
      say(LogLevel::Warning, "memory of a file that nobody understands stays reserved, session", session.name());
    file_is_gone(session, *newest);
  }
  session_is_done(session);
}

void Orchestrator::file_is_gone(IncomingSession& session, IncomingFile& file) {
  FileHandler* handler = file.handler;
  forget_file(session, file);
  if (handler == nullptr) return;
  for (const Attachment& attachment : x_attachments) {
    if (attachment.handler != handler) continue;
    Flb& flb = *attachment.flb;
    if (flb.x_incoming_files != 0 || !flb.x_incoming) continue;
    flb.x_incoming = false;
    flb.finish();
  }
}

void Orchestrator::forget_file(IncomingSession& session, IncomingFile& file) {
  if (file.handler != nullptr) {
    --file.handler->x_incoming_files;
    for (const Attachment& attachment : x_attachments)
      if (attachment.handler == file.handler) --attachment.flb->x_incoming_files;
  }
  if (file.has_token) session.x_by_token.remove(file);
  session.x_files.remove(file);
  --session.x_file_count;
  x_memory.heap.destroy(&file);
}

void Orchestrator::session_is_done(IncomingSession& session) {
  session.x_finished = true;
  --x_incoming_count;
  if (session.x_files_block != PhysAddr{}) {
    x_incoming_by_files.remove(session);
    x_handover.restore_free(session.x_files_block);
    session.x_files_block = {};
  }
  if (!session.x_held) remove_incoming(session);
  release_incoming_if_done_locked();
}

void Orchestrator::remove_incoming(IncomingSession& session) {
  if (session.x_files_block != PhysAddr{}) x_incoming_by_files.remove(session);
  x_incoming_by_name.remove(session);
  x_incoming.remove(session);
  x_memory.heap.destroy(&session);
}

void Orchestrator::release_incoming_if_done() {
  Guard guard(x_mutex);
  compare_counts();
  release_incoming_if_done_locked();
}

/// FLBs know how many files depend on them. If no session came although some should, sessions were lost.
void Orchestrator::compare_counts() {
  if (!x_stream || x_stream->flbs_state() != Code::Ok) return;
  bool is_file_missing = false;
  for (u64 i = 0; i < x_stream->flb_count(); ++i) {
    const abi::luo::FlbRecord record = x_stream->flb(i);
    for (const Flb& flb : x_flbs) {
      const bool is_same = flb.compatible() == bounded_text(record.name, sizeof record.name);
      if (!is_same || flb.x_incoming_files == record.count) continue;
      is_file_missing = is_file_missing || flb.x_incoming_files < record.count;
      say(LogLevel::Warning, "there are not as many files as depend on", flb.compatible());
    }
  }
  if (is_file_missing && x_incoming_count == 0) ++x_lost_sessions;
}

void Orchestrator::release_incoming_if_done_locked() {
  if (!x_stream || x_frozen || x_incoming_count != 0 || x_lost_sessions != 0 || x_incoming_state != Code::Ok) return;
  for (Flb& flb : x_flbs) {
    if (!flb.x_incoming) continue;
    flb.x_incoming = false;
    flb.finish();
  }
  x_handover.restore_free(x_stream->session_block());
  if (x_stream->flbs_state() == Code::Ok) x_handover.restore_free(x_stream->flb_block());
  x_handover.restore_free(x_stream->tree());
  x_stream.reset();
  x_handover.release_incoming_map();
}

Status Orchestrator::drop_session(NameBytes bytes) {
  TRY_ASSIGN(const SessionName name, read_name(bytes));
  Guard guard(x_mutex);
  if (x_frozen) return Code::Busy;
  IncomingSession* session = x_incoming_by_name.find(name);
  if (session == nullptr) return Code::NotFound;
  if (session->x_held) return Code::Busy;
  say(LogLevel::Warning, "dropped session", session->name(), session->x_damage);
  while (IncomingFile* newest = session->x_files.back()) {
    if (newest->handler != nullptr) newest->handler->drop(newest->data);
    file_is_gone(*session, *newest);
  }
  session_is_done(*session);
  return {};
}

void Orchestrator::incoming_closed(SessionFile& file, IncomingSession& session, bool was_handed_out) {
  Guard guard(x_mutex);
  x_memory.heap.destroy(&file);
  if (session.x_finished) return remove_incoming(session);
  session.x_held = false;
  if (x_frozen || !was_handed_out) return;
  if (can_finish(session).ok()) return finish_files(session);
  say(LogLevel::Warning, "closed, but not ready to finish: session", session.name(), Code::Busy);
  session.x_held = x_policy == Policy::Linux;  // there it can never be finished
}

}  // namespace holdfast::luo
