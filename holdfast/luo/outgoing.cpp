// Orchestrator: outgoing sessions. Every step that can fail comes before the first that cannot be taken back.
#include <cstring>

#include "holdfast/luo/device.hpp"
#include "holdfast/luo/orchestrator.hpp"

namespace holdfast::luo {

namespace {

constexpr u64 linux_session_limit = abi::luo::sessions_per_block(abi::luo::session_block_order);
constexpr u64 linux_file_limit = abi::luo::files_per_block(abi::luo::file_block_order);

}  // namespace

Result<u64> OutgoingSession::token_of(const File& file) const {
  for (const OutgoingFile& preserved : x_files)
    if (preserved.file.get() == &file) return preserved.token;
  return Code::NotFound;
}

Result<SessionName> Orchestrator::read_name(NameBytes bytes) const {
  SessionName name;
  std::memcpy(name.bytes.data(), bytes.data(), bytes.size());
  // Linux drops the last byte of a name that fills its field.
  if (x_policy == Policy::Linux) name.bytes.back() = '\0';
  if (name.bytes.back() != '\0' && name.view().size() == name.bytes.size()) return Code::Invalid;
  const u64 length = name.view().size();
  std::memset(name.bytes.data() + length, 0, name.bytes.size() - length);
  return name;
}

Result<FileRef> Orchestrator::create_session(NameBytes bytes) {
  TRY_ASSIGN(const SessionName name, read_name(bytes));
  Guard guard(x_mutex);
  if (x_frozen) return Code::Busy;
  if (x_policy == Policy::Holdfast && name.view().empty()) return Code::Invalid;
  if (x_outgoing_by_name.find(name) != nullptr) return Code::Exists;
  if (x_policy == Policy::Linux && x_outgoing_count >= linux_session_limit) return Code::NoMemory;
  TRY_ASSIGN(SessionFile * file, x_memory.heap.create<SessionFile>(*this));
  const auto session = add_session(name);
  if (!session.ok()) {
    x_memory.heap.destroy(file);
    return session.error();
  }
  file->stand_for(**session);
  return FileRef::adopt(file);
}

Result<OutgoingSession*> Orchestrator::add_session(const SessionName& name) {
  TRY_ASSIGN(OutgoingSession * session, x_memory.heap.create<OutgoingSession>(x_memory, x_handover, name));
  if (const Status room = x_session_block.make_room(x_outgoing_count + 1); !room.ok()) {
    x_memory.heap.destroy(session);
    return room.error();
  }
  x_session_block.commit();
  write_tree_number(abi::luo::session_node, abi::luo::session_header_property, x_session_block.address().value);
  session->x_slot = x_outgoing_count++;
  auto* record = x_session_block.record<abi::luo::SessionRecord>(session->x_slot);
  std::memcpy(record->name, name.bytes.data(), name.bytes.size());
  record->file_set = {};
  x_outgoing.push_back(*session);
  x_outgoing_by_name.insert(*session);
  return session;
}

void Orchestrator::remove_session(OutgoingSession& session) {
  // The last record takes the free place: records are dense, their order means nothing.
  auto* record = x_session_block.record<abi::luo::SessionRecord>(session.x_slot);
  auto* last = x_session_block.record<abi::luo::SessionRecord>(--x_outgoing_count);
  if (record != last) {
    SessionName moved;
    std::memcpy(moved.bytes.data(), last->name, moved.bytes.size());
    x_outgoing_by_name.find(moved)->x_slot = session.x_slot;
    *record = *last;
  }
  *last = {};
  x_session_block.shrink(x_outgoing_count);
  write_tree_number(abi::luo::session_node, abi::luo::session_header_property, x_session_block.address().value);
  x_outgoing_by_name.remove(session);
  x_outgoing.remove(session);
  x_memory.heap.destroy(&session);
}

FileHandler* Orchestrator::find_handler(const File& file) {
  for (FileHandler& handler : x_handlers)
    if (handler.can_preserve(file)) return &handler;
  return nullptr;
}

bool Orchestrator::is_preserved(const File& file) const {
  const OutgoingFile* found = x_preserved_files.find_from(std::pair(OutgoingFile::ByFile::address(&file), u64{0}));
  return found != nullptr && found->file.get() == &file;
}

Status Orchestrator::preserve_file(OutgoingSession& session, FdTable& fds, i32 fd, u64 token) {
  Guard guard(x_mutex);
  if (x_frozen) return Code::Busy;
  if (session.x_by_token.find(token) != nullptr) return Code::Exists;
  TRY_ASSIGN(FileRef file, fds.get(fd));
  if (x_policy == Policy::Linux && session.x_file_count >= linux_file_limit) return Code::NoSpace;
  if (x_policy == Policy::Holdfast && is_preserved(*file)) return Code::Busy;
  FileHandler* handler = find_handler(*file);
  if (handler == nullptr) return Code::NotFound;
  File& preserved = *file;
  TRY_ASSIGN(OutgoingFile * entry, add_file(session, *handler, std::move(file), token));
  const auto data = handler->preserve(session, preserved, token);
  if (!data.ok()) return discard_file(*entry), data.error();
  publish_file(*entry, *data);
  return {};
}

Result<OutgoingFile*> Orchestrator::add_file(OutgoingSession& session, FileHandler& handler, FileRef file, u64 token) {
  TRY_ASSIGN(OutgoingFile * entry, x_memory.heap.create<OutgoingFile>());
  entry->session = &session;
  entry->handler = &handler;
  entry->token = token;
  entry->file = std::move(file);
  Status status = session.x_block.make_room(session.x_file_count + 1);
  if (status.ok()) {
    status = acquire_flbs(handler);
    if (!status.ok()) session.x_block.cancel();
  }
  if (status.ok()) return entry;
  x_memory.heap.destroy(entry);
  return status.error();
}

void Orchestrator::discard_file(OutgoingFile& file) {
  release_flbs(*file.handler);
  file.session->x_block.cancel();
  x_memory.heap.destroy(&file);
}

void Orchestrator::publish_file(OutgoingFile& file, u64 data) {
  OutgoingSession& session = *file.session;
  file.data = data;
  session.x_block.commit();
  auto* record = session.x_block.record<abi::luo::FileRecord>(session.x_file_count++);
  const std::string_view compatible = file.handler->compatible();
  *record = {.compatible = {}, .data = data, .token = file.token};
  std::memcpy(record->compatible, compatible.data(), compatible.size());
  x_session_block.record<abi::luo::SessionRecord>(session.x_slot)->file_set.files = session.x_block.address().value;
  session.x_files.push_back(file);
  session.x_by_token.insert(file);
  if (file.file) x_preserved_files.insert(file);
}

void Orchestrator::remove_newest_file(OutgoingSession& session) {
  OutgoingFile& file = *session.x_files.back();
  if (file.file) x_preserved_files.remove(file);
  session.x_by_token.remove(file);
  session.x_files.remove(file);
  *session.x_block.record<abi::luo::FileRecord>(--session.x_file_count) = {};
  if (session.x_file_count == 0) {
    session.x_block.free();
    x_session_block.record<abi::luo::SessionRecord>(session.x_slot)->file_set.files = 0;
  }
  release_flbs(*file.handler);
  x_memory.heap.destroy(&file);
}

void Orchestrator::unpreserve_session(OutgoingSession& session) {
  while (OutgoingFile* newest = session.x_files.back()) {
    newest->handler->unpreserve(session, *newest->file, newest->data);
    remove_newest_file(session);
  }
  remove_session(session);
}

void Orchestrator::outgoing_closed(SessionFile& file, OutgoingSession& session) {
  Guard guard(x_mutex);
  x_memory.heap.destroy(&file);
  // While frozen the records are on their way to the next kernel; if the jump fails, unfreeze() comes back to it.
  if (x_frozen)
    session.x_closed = true;
  else
    unpreserve_session(session);
}

Code Orchestrator::refuse_preserve(IncomingSession& session, u64 token) const {
  Guard guard(x_mutex);
  if (x_frozen) return Code::Busy;
  const bool is_taken = session.x_by_token.find(token) != nullptr;
  return x_policy == Policy::Linux && is_taken ? Code::Exists : Code::Invalid;
}

Code Orchestrator::refuse_retrieve(OutgoingSession& session, u64 token) const {
  Guard guard(x_mutex);
  if (x_frozen) return Code::Busy;
  const bool is_known = session.x_by_token.find(token) != nullptr;
  return x_policy == Policy::Linux && !is_known ? Code::NotFound : Code::Invalid;
}

Status Orchestrator::refuse_finish(OutgoingSession& session) const {
  Guard guard(x_mutex);
  if (x_frozen) return Code::Busy;
  return x_policy == Policy::Linux && session.x_file_count == 0 ? Code::Ok : Code::Invalid;
}

Status Orchestrator::acquire_flbs(FileHandler& handler) {
  for (size_t i = 0; i < x_attachments.size(); ++i) {
    if (x_attachments[i].handler != &handler) continue;
    const Status status = acquire_flb(*x_attachments[i].flb);
    if (status.ok()) continue;
    while (i-- != 0)
      if (x_attachments[i].handler == &handler) release_flb(*x_attachments[i].flb);
    return status;
  }
  return {};
}

void Orchestrator::release_flbs(FileHandler& handler) {
  for (size_t i = x_attachments.size(); i-- != 0;)
    if (x_attachments[i].handler == &handler) release_flb(*x_attachments[i].flb);
}

Status Orchestrator::acquire_flb(Flb& flb) {
  if (flb.x_outgoing_files == 0) {
    TRY_ASSIGN(flb.x_outgoing_data, flb.preserve());
    flb.x_outgoing_slot = x_outgoing_flb_count++;
    auto* record = x_flb_block.record<abi::luo::FlbRecord>(flb.x_outgoing_slot);
    *record = {.name = {}, .data = flb.x_outgoing_data, .count = 0};
    std::memcpy(record->name, flb.compatible().data(), flb.compatible().size());
  }
  x_flb_block.record<abi::luo::FlbRecord>(flb.x_outgoing_slot)->count = ++flb.x_outgoing_files;
  return {};
}

void Orchestrator::release_flb(Flb& flb) {
  auto* record = x_flb_block.record<abi::luo::FlbRecord>(flb.x_outgoing_slot);
  record->count = --flb.x_outgoing_files;
  if (flb.x_outgoing_files != 0) return;
  const u64 last_slot = --x_outgoing_flb_count;
  auto* last = x_flb_block.record<abi::luo::FlbRecord>(last_slot);
  for (Flb& other : x_flbs)
    if (&other != &flb && other.x_outgoing_files != 0 && other.x_outgoing_slot == last_slot)
      other.x_outgoing_slot = flb.x_outgoing_slot;
  if (record != last) *record = *last;
  *last = {};
  flb.unpreserve();
}

}  // namespace holdfast::luo
