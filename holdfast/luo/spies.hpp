// Test support (hosted; never part of the library): a process with memory and descriptors, files that do nothing,
// handlers and FLBs that write down who called them, and a kernel to hold them.
//
// A kernel that jumped is dropped without destructors: its objects lie in RAM that the next kernel owns.
//
// Every preserved spy file costs one preserved page that holds its number, so that a leak or a loss shows in the
// allocator and in the preserved set.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "holdfast/luo/orchestrator.hpp"
#include "holdfast/memory/test_world.hpp"
#include "uapi/holdfast/liveupdate.h"

namespace holdfast::luo {

using Log = std::vector<std::string>;

class SpyFile final : public File {
 public:
  static constexpr char file_kind = 0;
  explicit SpyFile(std::string kind_name, u64 the_number)
      : File(2), handler_name(std::move(kind_name)), number(the_number) {
    alive().insert(this);
  }
  static FileRef make(const std::string& kind_name, u64 number) {
    return FileRef::adopt(new SpyFile(kind_name, number));
  }
  [[nodiscard]] const void* kind() const override { return &file_kind; }

  const std::string handler_name;  // which spy handler takes it
  const u64 number;
  /// Also those that a kernel left behind when it jumped. Never destroyed.
  static std::set<SpyFile*>& alive() {
    static auto* const all = new std::set<SpyFile*>;
    return *all;
  }

 private:
  void release() override {
    alive().erase(this);
    delete this;
  }
};

class SpyHandler final : public FileHandler {
 public:
  SpyHandler(kho::Handover& handover, Memory& memory, Log& log, std::string name = "spy-v1")
      : x_handover(handover), x_memory(memory), x_log(log), x_name(std::move(name)) {}

  // What to refuse, by the number of the file.
  std::set<u64> refuse_preserve, refuse_freeze, refuse_retrieve, refuse_finish, refuse_pass_on;
  /// Token that retrieve asks its session for, by the number of the file.
  std::map<u64, u64> needs_token;
  std::optional<Result<u64>> token_seen;  // answer of token_of(look_up) at the last preserve
  const File* look_up = nullptr;

  [[nodiscard]] std::string_view compatible() const override { return x_name; }
  [[nodiscard]] bool can_preserve(const File& file) override {
    const auto* spy = file_cast<SpyFile>(&file);
    return spy != nullptr && spy->handler_name == x_name;
  }
  Result<u64> preserve(OutgoingSession& session, File& file, u64) override {
    const u64 number = file_cast<SpyFile>(&file)->number;
    if (look_up != nullptr) token_seen = session.token_of(*look_up);
    if (refuse_preserve.contains(number)) return say("preserve-refused", number), Code::Again;
    TRY_ASSIGN(const PhysAddr page, x_handover.alloc_preserve(page_size_bytes));
    *x_memory.map.at<u64>(page) = number;
    say("preserve", number);
    return page.value;
  }
  void unpreserve(OutgoingSession&, File& file, u64 data) override {
    say("unpreserve", file_cast<SpyFile>(&file)->number);
    x_handover.unpreserve_free(PhysAddr(data), page_size_bytes);
  }
  Status freeze(File& file, u64) override {
    const u64 number = file_cast<SpyFile>(&file)->number;
    if (refuse_freeze.contains(number)) return say("freeze-refused", number), Code::Again;
    say("freeze", number);
    return {};
  }
  void unfreeze(File& file, u64) override { say("unfreeze", file_cast<SpyFile>(&file)->number); }

  Result<FileRef> retrieve(IncomingSession& session, u64 data) override {
    const u64 number = number_of(data);
    if (refuse_retrieve.contains(number)) return say("retrieve-refused", number), Code::Io;
    if (needs_token.contains(number)) TRY(session.file(needs_token[number]));
    say("retrieve", number);
    return SpyFile::make(x_name, number);
  }
  [[nodiscard]] bool can_finish(IncomingSession&, File*, u64 data) override {
    return !refuse_finish.contains(number_of(data));
  }
  void finish(IncomingSession&, File* retrieved, u64 data) override {
    say(retrieved != nullptr ? "finish" : "finish-unclaimed", number_of(data));
    x_handover.restore_free(PhysAddr(data));
  }
  void drop(u64 data) override {
    say("drop", number_of(data));
    x_handover.restore_free(PhysAddr(data));
  }
  Result<u64> pass_on(File* retrieved, u64 data) override {
    const u64 number = number_of(data);
    if (refuse_pass_on.contains(number)) return say("pass-on-refused", number), Code::NotSupported;
    TRY(x_handover.preserve(Block{PhysAddr(data), 0}));
    say(retrieved != nullptr ? "pass-on" : "pass-on-unclaimed", number);
    return data;
  }
  void cancel_pass_on(File*, u64 data, u64 passed_on) override {
    EXPECT_EQ(passed_on, data);
    say("cancel-pass-on", number_of(data));
    x_handover.unpreserve(Block{PhysAddr(passed_on), 0});
  }

 private:
  [[nodiscard]] u64 number_of(u64 data) const { return *x_memory.map.at<u64>(PhysAddr(data)); }
  void say(const std::string& what, u64 number) { x_log.push_back(what + " " + std::to_string(number)); }

  kho::Handover& x_handover;
  Memory& x_memory;
  Log& x_log;
  std::string x_name;
};

class SpyFlb final : public Flb {
 public:
  SpyFlb(Log& log, std::string name, u64 data) : x_log(log), x_name(std::move(name)), x_data(data) {}
  Code refusal = Code::Ok;

  [[nodiscard]] std::string_view compatible() const override { return x_name; }
  Result<u64> preserve() override {
    if (refusal != Code::Ok) return refusal;
    x_log.push_back("flb-preserve " + x_name);
    return x_data;
  }
  void unpreserve() override { x_log.push_back("flb-unpreserve " + x_name); }
  void finish() override { x_log.push_back("flb-finish " + x_name); }

 private:
  Log& x_log;
  std::string x_name;
  u64 x_data;
};

/// Memory at user_base; everything else faults.
class TestUser final : public UserMemory {
 public:
  static constexpr u64 user_base = 0x7000'0000'0000;
  std::vector<std::byte> memory = std::vector<std::byte>(64 * 1024);
  bool read_only = false;

  Status read(u64 address, std::span<std::byte> to) override {
    TRY_ASSIGN(const u64 at, offset(address, to.size()));
    std::memcpy(to.data(), memory.data() + at, to.size());
    return {};
  }
  Status write(u64 address, std::span<const std::byte> from) override {
    if (read_only) return Code::Fault;
    TRY_ASSIGN(const u64 at, offset(address, from.size()));
    std::memcpy(memory.data() + at, from.data(), from.size());
    return {};
  }

 private:
  [[nodiscard]] Result<u64> offset(u64 address, u64 size) const {
    if (address < user_base || address - user_base > memory.size()) return Code::Fault;
    if (size > memory.size() - (address - user_base)) return Code::Fault;
    return address - user_base;
  }
};

class TestFds final : public FdTable {
 public:
  u64 limit = ~u64{0};
  Result<FileRef> get(i32 fd) override {
    const auto found = x_files.find(fd);
    if (found == x_files.end()) return Code::BadFd;
    return found->second;
  }
  Result<i32> install(FileRef file) override {
    if (x_files.size() >= limit) return Code::TooManyFiles;
    const i32 fd = x_next++;
    x_files[fd] = std::move(file);
    return fd;
  }
  Status close(i32 fd) override {
    const auto found = x_files.find(fd);
    if (found == x_files.end()) return Code::BadFd;
    FileRef last = std::move(found->second);
    x_files.erase(found);
    return {};
  }
  [[nodiscard]] size_t size() const { return x_files.size(); }
  void close_all() {
    while (!x_files.empty()) (void)close(x_files.begin()->first);
  }
  /// The process is gone and so is its kernel: nobody closes anything.
  void abandon() {
    for (auto& [fd, file] : x_files) (void)file.detach();
    x_files.clear();
  }

 private:
  std::map<i32, FileRef> x_files;
  i32 x_next = 3;
};

/// One process that calls ioctl.
struct Process {
  TestUser user;
  TestFds fds;
  CallContext call{user, fds};

  Result<u64> ioctl(i32 fd, u32 command, u64 argument) {
    TRY_ASSIGN(FileRef file, fds.get(fd));
    return file->ioctl(call, command, argument);
  }
  template <class T>
  Result<u64> ioctl(i32 fd, u32 command, T& argument) {
    std::memcpy(user.memory.data(), &argument, sizeof argument);
    const auto answer = ioctl(fd, command, TestUser::user_base);
    std::memcpy(&argument, user.memory.data(), sizeof argument);
    return answer;
  }
};

/// Never destroyed.
template <class T>
class Immortal {
 public:
  template <class... Args>
  explicit Immortal(Args&&... args) {
    ::new (static_cast<void*>(x_storage)) T(std::forward<Args>(args)...);
  }
  [[nodiscard]] T& get() { return *std::launder(reinterpret_cast<T*>(x_storage)); }

 private:
  alignas(T) std::byte x_storage[sizeof(T)];
};

/// One kernel, from boot to jump, with a process in it.
class Kernel {
 public:
  explicit Kernel(u64 ram_bytes = 64 << 20, Policy the_policy = Policy::Holdfast)
      : world(ram_bytes), host(world), handover(host.memory), x_luo(host.memory, handover, the_policy) {
    open(nullptr);
  }
  /// What @p before left, without a process or handlers.
  Kernel(Kernel& before, AfterJump jump, Policy the_policy = Policy::Holdfast)
      : Kernel(before, before.handover.numbers(), jump, the_policy) {
    boot();
  }
  /// Not booted yet: for a look at the memory first.
  Kernel(Kernel& before, const Handover& numbers, AfterJump jump, Policy the_policy)
      : world(before.world, jump),
        host(world, TestOpen::Later, numbers),
        handover(host.memory),
        x_luo(host.memory, handover, the_policy) {}
  ~Kernel() { process.fds.abandon(); }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  void boot() {
    auto map = kho::IncomingMap::open(host.memory.map, host.boot.handover);
    ASSERT_TRUE(map.ok()) << errno_name(map.code());
    incoming.emplace(*map);
    claimed = handover.claim_incoming(*incoming).code();
    host.memory.open();
    open(&*incoming);
  }
  void open(const kho::IncomingMap* from) {
    scratch = host.scratch();
    ASSERT_TRUE(handover.open({&scratch, 1}).ok());
    ASSERT_TRUE(luo.open(from).ok());
  }
  SpyHandler& add_handler(const std::string& name = "spy-v1") {
    handlers.push_back(std::make_unique<SpyHandler>(handover, host.memory, log, name));
    EXPECT_TRUE(luo.register_handler(*handlers.back()).ok());
    return *handlers.back();
  }
  SpyFlb& add_flb(SpyHandler& handler, const std::string& name, u64 data) {
    flbs.push_back(std::make_unique<SpyFlb>(log, name, data));
    EXPECT_TRUE(luo.register_flb(handler, *flbs.back()).ok());
    return *flbs.back();
  }

  // The calls of a process, by ioctl.
  i32 device() {
    if (device_fd < 0) {
      auto file = luo.open_device();
      EXPECT_TRUE(file.ok()) << errno_name(file.code());
      if (file.ok()) device_fd = process.fds.install(std::move(file).value()).value();
    }
    return device_fd;
  }
  Result<i32> name_call(u32 command, std::string_view name) {
    liveupdate_ioctl_create_session argument{.size = sizeof argument, .fd = -1, .name = {}};
    std::memcpy(argument.name, name.data(), std::min<size_t>(name.size(), sizeof argument.name));
    TRY(process.ioctl(device(), command, argument));
    return argument.fd;
  }
  Result<i32> create(std::string_view name) { return name_call(LIVEUPDATE_IOCTL_CREATE_SESSION, name); }
  Result<i32> retrieve(std::string_view name) { return name_call(LIVEUPDATE_IOCTL_RETRIEVE_SESSION, name); }
  Code drop(std::string_view name) {
    liveupdate_ioctl_drop_session argument{.size = sizeof argument, .reserved = 0, .name = {}};
    std::memcpy(argument.name, name.data(), std::min<size_t>(name.size(), sizeof argument.name));
    return process.ioctl(device(), LIVEUPDATE_IOCTL_DROP_SESSION, argument).code();
  }
  i32 open_file(u64 number, const std::string& kind_name = "spy-v1") {
    return process.fds.install(SpyFile::make(kind_name, number)).value();
  }
  Code preserve_fd(i32 session, i32 fd, u64 token) {
    liveupdate_session_preserve_fd argument{.size = sizeof argument, .fd = fd, .token = token};
    return process.ioctl(session, LIVEUPDATE_SESSION_PRESERVE_FD, argument).code();
  }
  /// A new file of that number, under the token 1000 + number.
  Code preserve(i32 session, u64 number, const std::string& kind_name = "spy-v1") {
    return preserve_fd(session, open_file(number, kind_name), 1000 + number);
  }
  Result<i32> retrieve_fd(i32 session, u64 token) {
    liveupdate_session_retrieve_fd argument{.size = sizeof argument, .fd = -1, .token = token};
    TRY(process.ioctl(session, LIVEUPDATE_SESSION_RETRIEVE_FD, argument));
    return argument.fd;
  }
  Code finish(i32 session) {
    liveupdate_session_finish argument{.size = sizeof argument, .reserved = 0};
    return process.ioctl(session, LIVEUPDATE_SESSION_FINISH, argument).code();
  }
  Log take_log() { return std::exchange(log, {}); }
  auto snapshot() {
    return std::tuple(luo.state_hash(), handover.state_hash(), host.memory.buddy.free_blocks(),
                      host.memory.heap.live_objects(), host.memory.heap.live_bytes());
  }

  TestWorld world;
  TestMemory host;
  PhysRange scratch;
  std::optional<kho::IncomingMap> incoming;
  kho::Handover handover;

 private:
  Immortal<Orchestrator> x_luo;

 public:
  Orchestrator& luo = x_luo.get();
  Log log;
  std::vector<std::unique_ptr<SpyHandler>> handlers;
  std::vector<std::unique_ptr<SpyFlb>> flbs;
  Process process;
  i32 device_fd = -1;
  Code claimed = Code::Ok;
};

}  // namespace holdfast::luo
