// Orchestrator (LUO): sessions of files that cross a live update, the file handlers and FLBs behind them, freeze and
// roll-back, and /dev/liveupdate.
//
// Contract: records stand in preserved memory in the layout of abi/luo.hpp while sessions are filled; freeze() writes
// only counts and the number of the live update. Every call that fails leaves the state, free memory included, as it
// was. Records of the previous kernel are untrusted: a bad session or file costs that session or file, is logged with
// its reason, and the rest works; policy Linux refuses the device (Io) as a whole.
//
// After a freeze() that succeeded every operation of a session answers Busy until unfreeze().
// Incoming sessions that are not finished at freeze() are passed on: their files are preserved again by their handlers.
// When the last incoming session is gone, the incoming records and the incoming preserved-memory map are freed.
//
// Threads: one Mutex (LockRank::Orchestrator), held while handlers and FLBs are called. All calls may sleep.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "holdfast/base/locks.hpp"
#include "holdfast/kho/handover.hpp"
#include "holdfast/kho/incoming_map.hpp"
#include "holdfast/kho/state_hash.hpp"
#include "holdfast/luo/flb.hpp"
#include "holdfast/luo/handler.hpp"
#include "holdfast/luo/policy.hpp"
#include "holdfast/luo/session.hpp"
#include "holdfast/luo/stream.hpp"
#include "holdfast/memory/memory.hpp"
#include "holdfast/memory/vec.hpp"

namespace holdfast::luo {

class DeviceFile;
class SessionFile;

class Orchestrator {
 public:
  Orchestrator(Memory& memory, kho::Handover& handover, Policy policy = Policy::Holdfast);
  Orchestrator(const Orchestrator&) = delete;
  Orchestrator& operator=(const Orchestrator&) = delete;
  /// Frees nothing: a kernel that jumps leaves its records behind. Use close() to give the memory back.
  ~Orchestrator() = default;

  /// Makes the outgoing records and reads the incoming ones. @p incoming: after Handover::claim_incoming(); nullptr on
  /// a cold boot; must live as long as Handover::holds_incoming_map(). Incoming state that cannot be read is not an
  /// error here: see incoming_state(). Errors: NoMemory, and then nothing was consumed: it may be called again.
  Status open(const kho::IncomingMap* incoming);
  /// Undoes open(); panics while sessions exist that somebody holds.
  void close();

  /// Errors: Exists (compatible taken), Invalid (bad compatible), Busy (a session is in use).
  Status register_handler(FileHandler& handler);
  /// Errors: Busy (a session is in use, incoming files or an FLB depend on it), NotFound.
  Status unregister_handler(FileHandler& handler);
  /// Errors: Invalid (handler is not registered, bad compatible), Exists (attached already, or another FLB has the
  /// name), Busy (a session is in use), NoMemory, NoSpace (more than the FLB block holds).
  Status register_flb(FileHandler& handler, Flb& flb);
  /// Takes the FLB off all its handlers. Errors: Busy, NotFound.
  Status unregister_flb(Flb& flb);

  /// /dev/liveupdate. Errors: Busy (open already), Io (policy Linux, incoming state unreadable), NoMemory.
  Result<FileRef> open_device();

  // What the ioctls do; names are the 64 bytes as user space gave them.
  using NameBytes = std::span<const u8, abi::luo::name_bytes>;
  Result<FileRef> create_session(NameBytes name);
  Result<FileRef> retrieve_session(NameBytes name);
  /// The administrator gives an incoming session up. Errors: NotFound, Busy (somebody holds it, or frozen), Invalid.
  Status drop_session(NameBytes name);
  Status preserve_file(OutgoingSession& session, FdTable& fds, i32 fd, u64 token);
  Result<FileRef> retrieve_file(IncomingSession& session, u64 token);
  Status finish_session(IncomingSession& session);

  /// Passes on what was not finished, asks every file for its consent, oldest first, and completes the records. A
  /// refusal undoes it all, in reverse order. Errors: Busy (frozen already), the refusing handler's, NoMemory, NoSpace,
  /// Exists (a session has the name of an incoming one that has to be passed on), NotSupported (an incoming file that
  /// nobody here understands), Corrupt (a damaged incoming session: drop it first).
  Status freeze();
  /// The jump was given up: everything works again.
  void unfreeze();
  [[nodiscard]] bool is_frozen() const;

  /// Frees the incoming records and the incoming preserved-memory map if no incoming session remains and none was lost.
  /// Called by itself after every finish and drop; a live boot calls it once when all handlers are registered and
  /// everything incoming has been verified, for the case that no session came at all.
  void release_incoming_if_done();

  /// The data of an FLB that the previous kernel left and that is not finished.
  /// Errors: NoData (no live update data), NotFound; Corrupt, UnknownVersion (unreadable).
  [[nodiscard]] Result<u64> find_incoming_flb(std::string_view name) const;
  /// Errors: NotFound (no file depends on it now).
  [[nodiscard]] Result<u64> find_outgoing_flb(std::string_view name) const;

  /// Which live update brought this kernel up; 0 when it booted cold.
  [[nodiscard]] u64 number() const { return x_number; }
  /// Ok; NoData (there was none); Corrupt or UnknownVersion: sessions of the previous kernel exist that cannot be read.
  [[nodiscard]] Code incoming_state() const { return x_incoming_state; }
  [[nodiscard]] u64 outgoing_session_count() const { return x_outgoing_count; }
  /// Not finished.
  [[nodiscard]] u64 incoming_session_count() const { return x_incoming_count; }
  /// Over sessions, files, FLBs and their states; equal states, equal hashes.
  [[nodiscard]] u64 state_hash() const;
  [[nodiscard]] Policy policy() const { return x_policy; }

 private:
  friend class DeviceFile;
  friend class SessionFile;

  struct Attachment {
    FileHandler* handler;
    Flb* flb;
  };

  // orchestrator.cpp
  Status write_outgoing_tree() HOLDFAST_REQUIRES(x_mutex);
  void free_outgoing_tree() HOLDFAST_REQUIRES(x_mutex);
  /// @p node empty: the root.
  void write_tree_number(std::string_view node, std::string_view property, u64 value);
  [[nodiscard]] bool in_use() const;
  [[nodiscard]] bool is_incoming_flawless() const;
  void bind_incoming_files(FileHandler& handler);
  void device_closed(DeviceFile& device);
  void hash_records(kho::StateHash& hash) const;

  // outgoing.cpp
  Result<SessionName> read_name(NameBytes bytes) const;
  Result<OutgoingSession*> add_session(const SessionName& name);
  void remove_session(OutgoingSession& session);
  [[nodiscard]] FileHandler* find_handler(const File& file);
  [[nodiscard]] bool is_preserved(const File& file) const;
  Status acquire_flbs(FileHandler& handler);
  void release_flbs(FileHandler& handler);
  Status acquire_flb(Flb& flb);
  void release_flb(Flb& flb);
  /// Everything of a file that can fail, before its handler is asked; then publish_file() or discard_file().
  Result<OutgoingFile*> add_file(OutgoingSession& session, FileHandler& handler, FileRef file, u64 token);
  void publish_file(OutgoingFile& file, u64 data);
  void discard_file(OutgoingFile& file);
  void remove_newest_file(OutgoingSession& session);
  void unpreserve_session(OutgoingSession& session);
  void outgoing_closed(SessionFile& file, OutgoingSession& session);
  // A session that points the other way is refused; under policy Linux where it did harm there.
  [[nodiscard]] Code refuse_preserve(IncomingSession& session, u64 token) const;
  [[nodiscard]] Code refuse_retrieve(OutgoingSession& session, u64 token) const;
  [[nodiscard]] Status refuse_finish(OutgoingSession& session) const;

  // incoming.cpp
  Status read_incoming(const kho::IncomingMap& incoming);
  Status read_session(const IncomingStream& stream, u64 index);
  Status read_file(IncomingSession& session, const abi::luo::FileRecord& record);
  void forget_incoming();
  [[nodiscard]] Status can_finish(IncomingSession& session);
  void finish_files(IncomingSession& session);
  void file_is_gone(IncomingSession& session, IncomingFile& file);
  void forget_file(IncomingSession& session, IncomingFile& file);
  void session_is_done(IncomingSession& session);
  void remove_incoming(IncomingSession& session);
  void compare_counts();
  void release_incoming_if_done_locked();
  void incoming_closed(SessionFile& file, IncomingSession& session, bool was_handed_out);

  // freeze.cpp
  Status pass_on_all();
  Status pass_on(IncomingSession& incoming);
  Status pass_on_file(OutgoingSession& session, IncomingFile& file);
  void cancel_all_passed_on();
  void cancel_pass_on(OutgoingSession& session);
  Status ask_for_consent();
  void withdraw_consent(OutgoingSession& session, OutgoingFile* from);
  void write_counts();
  void clear_counts();

  void say(LogLevel level, std::string_view what, std::string_view name, Code why = Code::Ok) const;

  Memory& x_memory;
  kho::Handover& x_handover;
  Policy x_policy;
  mutable Mutex x_mutex;
  bool x_device_open = false;
  bool x_frozen = false;

  List<FileHandler, &FileHandler::x_registered> x_handlers;
  List<Flb, &Flb::x_registered> x_flbs;
  Vec<Attachment> x_attachments;  // FLBs of a handler in the order of their registration

  PhysAddr x_tree;  // the LUO FDT
  RecordBlock x_session_block;
  RecordBlock x_flb_block;
  u64 x_outgoing_flb_count = 0;
  u64 x_outgoing_count = 0;
  List<OutgoingSession, &OutgoingSession::x_in_order> x_outgoing;
  Index<OutgoingSession, &OutgoingSession::x_by_name, OutgoingSession::ByName> x_outgoing_by_name;
  Index<OutgoingFile, &OutgoingFile::by_file, OutgoingFile::ByFile> x_preserved_files;

  std::optional<IncomingStream> x_stream;  // while the incoming records exist
  Code x_incoming_state = Code::NoData;
  u64 x_number = 0;
  u64 x_incoming_count = 0;
  u64 x_lost_sessions = 0;  // records so bad that nothing can be done with them but keep their memory reserved
  List<IncomingSession, &IncomingSession::x_in_order> x_incoming;
  Index<IncomingSession, &IncomingSession::x_by_name, IncomingSession::ByName> x_incoming_by_name;
  Index<IncomingSession, &IncomingSession::x_by_files, IncomingSession::ByFiles> x_incoming_by_files;
};

}  // namespace holdfast::luo
