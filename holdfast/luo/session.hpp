// Sessions: named groups of files that cross a live update together.
//
// An OutgoingSession is being filled by this kernel, an IncomingSession was filled by the previous one. Handlers are
// given the session of their file and may ask it for the others; everything else goes through the Orchestrator, which
// owns the sessions and whose mutex (LockRank::Orchestrator) is held whenever one is touched.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "holdfast/abi/luo.hpp"
#include "holdfast/base/list.hpp"
#include "holdfast/luo/file.hpp"
#include "holdfast/luo/index.hpp"
#include "holdfast/luo/record_block.hpp"
#include "holdfast/luo/stream.hpp"

namespace holdfast::luo {

class FileHandler;
class Orchestrator;
class OutgoingSession;
class IncomingSession;

/// A session's name as its record holds it: at most 63 characters, then zeroes.
struct SessionName {
  std::array<char, abi::luo::name_bytes> bytes{};

  [[nodiscard]] std::string_view view() const { return bounded_text(bytes.data(), bytes.size()); }
  [[nodiscard]] u64 hash() const {
    u64 h = 0;
    for (char c : view()) h = mix(h ^ static_cast<unsigned char>(c));
    return h;
  }
  bool operator<(const SessionName& other) const { return view() < other.view(); }
};

/// A preserved file. Its record has the same place in the session's file block as it has in the session's list.
struct OutgoingFile {
  ListHook in_session;
  IndexHook<OutgoingFile> by_token;  // in its session
  IndexHook<OutgoingFile> by_file;   // among all sessions
  OutgoingSession* session = nullptr;
  FileHandler* handler = nullptr;
  FileRef file;  // empty when an incoming file that was never retrieved is passed on
  u64 token = 0;
  u64 data = 0;

  struct ByToken {
    static u64 key(const OutgoingFile& f) { return f.token; }
    static u64 priority(const OutgoingFile& f) { return mix(f.token + 1); }
  };
  /// By file, then by entry: policy Linux lets a file be preserved more than once.
  struct ByFile {
    static std::pair<u64, u64> key(const OutgoingFile& f) { return {address(f.file.get()), address(&f)}; }
    static u64 priority(const OutgoingFile& f) { return mix(address(&f)); }
    static u64 address(const void* p) { return reinterpret_cast<u64>(p); }
  };
};

class OutgoingSession {
 public:
  [[nodiscard]] std::string_view name() const { return x_name.view(); }
  /// The token under which @p file is preserved in this session. Errors: NotFound.
  [[nodiscard]] Result<u64> token_of(const File& file) const;

  OutgoingSession(Memory& memory, kho::Handover& handover, const SessionName& name)
      : x_name(name), x_block(memory, handover, RecordBlock::files) {}

  struct ByName {
    static const SessionName& key(const OutgoingSession& s) { return s.x_name; }
    static u64 priority(const OutgoingSession& s) { return s.x_name.hash(); }
  };

 private:
  friend class Orchestrator;
  ListHook x_in_order;
  IndexHook<OutgoingSession> x_by_name;
  SessionName x_name;
  List<OutgoingFile, &OutgoingFile::in_session> x_files;
  Index<OutgoingFile, &OutgoingFile::by_token, OutgoingFile::ByToken> x_by_token;
  RecordBlock x_block;  // FileRecords, oldest first
  u64 x_file_count = 0;
  u64 x_slot = 0;                          // of its SessionRecord
  IncomingSession* x_passed_on = nullptr;  // made by freeze() for this incoming session
  bool x_closed = false;                   // its last descriptor went while the orchestrator was frozen
};

struct IncomingFile {
  enum class State : u8 { Waiting, Retrieving, Retrieved, Failed, Unavailable };

  ListHook in_session;
  IndexHook<IncomingFile> by_token;
  FileHandler* handler = nullptr;  // nullptr: nobody understands it (yet)
  std::array<char, abi::luo::compatible_bytes> compatible{};
  u64 data = 0;
  u64 token = 0;
  State state = State::Waiting;
  bool has_token = true;    // false: another file of the session has it
  Code failure = Code::Ok;  // what Failed and Unavailable answer
  FileRef file;             // when Retrieved

  [[nodiscard]] std::string_view compatible_view() const { return bounded_text(compatible.data(), compatible.size()); }
  struct ByToken {
    static u64 key(const IncomingFile& f) { return f.token; }
    static u64 priority(const IncomingFile& f) { return mix(f.token + 1); }
  };
};

class IncomingSession {
 public:
  [[nodiscard]] std::string_view name() const { return x_name.view(); }
  /// The file under @p token, retrieved now if it was not yet; a failed retrieve answers the same error again.
  /// For handlers, which are called with the orchestrator locked.
  /// Errors: NotFound (no such token), Busy (it is being retrieved: the files need each other), the handler's own.
  Result<FileRef> file(u64 token);

  explicit IncomingSession(const SessionName& name) : x_name(name) {}

  struct ByName {
    static const SessionName& key(const IncomingSession& s) { return s.x_name; }
    static u64 priority(const IncomingSession& s) { return s.x_name.hash(); }
  };
  struct ByFiles {
    static u64 key(const IncomingSession& s) { return s.x_files_block.value; }
    static u64 priority(const IncomingSession& s) { return mix(s.x_files_block.value); }
  };

 private:
  friend class Orchestrator;
  ListHook x_in_order;
  IndexHook<IncomingSession> x_by_name;
  IndexHook<IncomingSession> x_by_files;
  SessionName x_name;
  List<IncomingFile, &IncomingFile::in_session> x_files;
  Index<IncomingFile, &IncomingFile::by_token, IncomingFile::ByToken> x_by_token;
  PhysAddr x_files_block;  // of the FileRecords; 0: none
  u64 x_file_count = 0;
  Code x_damage = Code::Ok;  // not Ok: its records cannot be used; it can only be dropped
  bool x_held = false;       // a descriptor for it is open
  bool x_finished = false;
};

}  // namespace holdfast::luo
