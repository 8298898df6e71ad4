// Incoming LUO records: those of a real Linux, and ours with every kind of damage.
#include "holdfast/luo/stream.hpp"

#include <gtest/gtest.h>
#include <libfdt.h>

#include "holdfast/abi/memfd.hpp"
#include "holdfast/kho/linux_sample.hpp"
#include "holdfast/luo/device.hpp"
#include "holdfast/luo/spies.hpp"

namespace holdfast::luo {
namespace {

using kho::LinuxSample;

class LinuxRecords : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!LinuxSample::is_present(GetParam())) GTEST_SKIP() << "no samples of a real Linux here";
    sample = std::make_unique<LinuxSample>(GetParam());
    map = std::make_unique<DirectMap>(sample->world, sample->world.memory_map);
    incoming.emplace(kho::IncomingMap::open(*map, sample->handover).value());
  }
  std::unique_ptr<LinuxSample> sample;
  std::unique_ptr<DirectMap> map;
  std::optional<kho::IncomingMap> incoming;
};

TEST_P(LinuxRecords, AreReadAsLinuxMeantThem) {
  const auto stream = IncomingStream::open(*map, *incoming);
  ASSERT_TRUE(stream.ok()) << errno_name(stream.code());
  const auto& luo = sample->decoded["luo"];
  EXPECT_EQ(stream->tree().value, luo["paddr"].get<u64>());
  EXPECT_EQ(stream->number(), luo["number"].get<u64>());
  EXPECT_EQ(stream->session_block().value, luo["luo-session"]["header"].get<u64>());
  EXPECT_EQ(stream->flb_block().value, luo["luo-flb"]["header"].get<u64>());
  ASSERT_EQ(stream->sessions_state(), Code::Ok);
  ASSERT_EQ(stream->flbs_state(), Code::Ok);

  const auto& sessions = sample->decoded["sessions"];
  ASSERT_EQ(stream->session_count(), sessions.size());
  for (u64 i = 0; i < sessions.size(); ++i) {
    const auto record = stream->session(i);
    EXPECT_STREQ(record.name, sessions[i]["name"].get<std::string>().c_str());
    EXPECT_EQ(record.file_set.files, sessions[i]["files_paddr"].get<u64>());
    ASSERT_EQ(record.file_set.count, sessions[i]["files"].size());
    const auto block = stream->file_block(record.file_set);
    ASSERT_TRUE(block.ok());
    for (u64 k = 0; k < record.file_set.count; ++k) {
      const auto file = stream->file(*block, k);
      const auto& truth = sessions[i]["files"][k];
      EXPECT_STREQ(file.compatible, truth["compatible"].get<std::string>().c_str());
      EXPECT_EQ(file.data, truth["data"].get<u64>());
      EXPECT_EQ(file.token, truth["token"].get<u64>());
    }
  }
  const auto& flbs = luo["luo-flb"]["entries"];
  ASSERT_EQ(stream->flb_count(), flbs.size());
  for (u64 i = 0; i < flbs.size(); ++i) {
    EXPECT_STREQ(stream->flb(i).name, flbs[i]["name"].get<std::string>().c_str());
    EXPECT_EQ(stream->flb(i).count, flbs[i]["count"].get<u64>());
    EXPECT_EQ(stream->find_flb(flbs[i]["name"].get<std::string>()).value(), flbs[i]["data"].get<u64>());
    EXPECT_EQ(early_find_flb(*map, *incoming, flbs[i]["name"].get<std::string>()).value(), flbs[i]["data"].get<u64>());
  }
  EXPECT_EQ(early_find_flb(*map, *incoming, "nobody").code(), Code::NotFound);
}

TEST_P(LinuxRecords, MemfdRecordsHaveOurLayout) {
  for (const auto& session : sample->decoded["sessions"]) {
    for (const auto& file : session["files"]) {
      const auto& truth = file["memfd"];
      const auto* record = map->at<abi::memfd::MemfdRecord>(PhysAddr(file["data"].get<u64>()));
      EXPECT_EQ(record->position, truth["pos"].get<u64>());
      EXPECT_EQ(record->size_bytes, truth["size"].get<u64>());
      EXPECT_EQ(record->seals, truth["seals"].get<u32>());
      EXPECT_EQ(record->flags, truth["flags"].get<u32>());
      EXPECT_EQ(record->folio_count, truth["nr_folios"].get<u64>());
      EXPECT_EQ(record->folios.first, truth["vm_first"].get<u64>());
      EXPECT_EQ(record->folios.total_pages, truth["vm_total_pages"].get<u32>());
      EXPECT_EQ(record->folios.flags, truth["vm_flags"].get<u16>());
      EXPECT_EQ(record->folios.order, truth["vm_order"].get<u16>());
      const auto* chunk = map->at<abi::memfd::VmallocChunk>(PhysAddr(record->folios.first));
      EXPECT_EQ(chunk->next, 0u);
      EXPECT_EQ(chunk->pages[record->folios.total_pages], 0u);
      const auto* folios = map->at<abi::memfd::Folio>(PhysAddr(chunk->pages[0]));
      for (u64 i = 0; i < record->folio_count; ++i) {
        EXPECT_EQ(folios[i].index, i);
        EXPECT_TRUE(incoming->find_block(folios[i].frame().address()));
        EXPECT_NE(folios[i].flags(), 0u);
      }
    }
  }
}

TEST_P(LinuxRecords, AreTakenOverAndFinishedByOurOrchestrator) {
  TestMemory host(sample->world, TestOpen::Later, sample->handover);
  kho::Handover handover(host.memory);
  ASSERT_TRUE(handover.claim_incoming(*incoming).ok());
  host.memory.open();
  const PhysRange scratch = host.scratch();
  ASSERT_TRUE(handover.open({&scratch, 1}).ok());
  Orchestrator luo(host.memory, handover);
  ASSERT_TRUE(luo.open(&*incoming).ok());
  EXPECT_EQ(luo.incoming_state(), Code::Ok);
  EXPECT_EQ(luo.number(), 1u);
  const auto& sessions = sample->decoded["sessions"];
  EXPECT_EQ(luo.incoming_session_count(), sessions.size());
  for (const auto& session : sessions) {
    std::array<u8, 64> name{};
    const auto text = session["name"].get<std::string>();
    std::copy(text.begin(), text.end(), name.begin());
    const auto file = luo.retrieve_session(name);
    ASSERT_TRUE(file.ok());
    file_cast<SessionFile>(file->get())
        ->handed_out();  // and closed at once: nobody here handles memfds, it is finished
  }
  luo.release_incoming_if_done();
  EXPECT_FALSE(handover.holds_incoming_map());
  u64 waiting = 0;
  handover.for_each_unrestored([&](Block block) { waiting += u64{1} << block.order; });
  // LUO's own records are free again; only what belongs to the memfd stays reserved.
  EXPECT_EQ(waiting, sessions.empty() ? 0u : 3u + 4u);
}

INSTANTIATE_TEST_SUITE_P(All, LinuxRecords, testing::ValuesIn(LinuxSample::all),
                         [](const auto& name) { return std::string(1, name.param[0]); });

class DamagedRecords : public testing::Test {
 protected:
  DamagedRecords() {
    old.add_flb(old.add_handler(), "flb", 5);
    for (const auto& [name, numbers] :
         std::vector<std::pair<std::string, std::vector<u64>>>{{"one", {1, 2}}, {"two", {3}}, {"three", {4}}}) {
      const i32 session = old.create(name).value();
      for (u64 number : numbers) EXPECT_EQ(old.preserve(session, number), Code::Ok);
    }
    EXPECT_TRUE(old.luo.freeze().ok());
    const auto map = kho::IncomingMap::open(old.host.memory.map, old.handover.numbers());
    const auto stream = IncomingStream::open(old.host.memory.map, *map);
    tree = reinterpret_cast<std::byte*>(old.host.memory.map.at<u8>(stream->tree()));
    session_header = old.host.memory.map.at<abi::luo::SessionHeader>(stream->session_block());
    sessions = reinterpret_cast<abi::luo::SessionRecord*>(session_header + 1);
    flb_header = old.host.memory.map.at<abi::luo::FlbHeader>(stream->flb_block());
    flbs = reinterpret_cast<abi::luo::FlbRecord*>(flb_header + 1);
    files = old.host.memory.map.at<abi::luo::FileRecord>(PhysAddr(sessions[0].file_set.files));
    files_block = PhysAddr(sessions[0].file_set.files);
  }
  /// The next kernel, with the handler and its FLB.
  std::unique_ptr<Kernel> boot(Policy policy = Policy::Holdfast) {
    auto next = std::make_unique<Kernel>(old, AfterJump{}, policy);
    next->add_flb(next->add_handler(), "flb", 6);
    return next;
  }
  static bool says(const Kernel& kernel, const std::string& what) {
    for (const auto& line : kernel.world.log_lines)
      if (line.find(what) != std::string::npos) return true;
    return false;
  }

  Kernel old;
  std::byte* tree = nullptr;
  abi::luo::SessionHeader* session_header = nullptr;
  abi::luo::SessionRecord* sessions = nullptr;
  abi::luo::FlbHeader* flb_header = nullptr;
  abi::luo::FlbRecord* flbs = nullptr;
  abi::luo::FileRecord* files = nullptr;
  PhysAddr files_block;
};

TEST_F(DamagedRecords, AnotherVersionIsNotInterpreted) {
  ASSERT_EQ(fdt_setprop_inplace(tree, 0, "compatible", "luo-v9", 7), 0);
  session_header->count = ~u64{0};
  const auto next = boot();
  EXPECT_EQ(next->luo.incoming_state(), Code::UnknownVersion);
  EXPECT_EQ(next->luo.number(), 0u);
  EXPECT_EQ(next->retrieve("one").code(), Code::UnknownVersion);
  EXPECT_EQ(next->luo.find_incoming_flb("flb").code(), Code::UnknownVersion);
  EXPECT_EQ(early_find_flb(next->host.memory.map, *next->incoming, "flb").code(), Code::UnknownVersion);
  EXPECT_TRUE(next->create("new").ok()) << "what is new works";
  next->luo.release_incoming_if_done();
  EXPECT_TRUE(next->handover.holds_incoming_map()) << "nothing is given up on its own";
}

TEST_F(DamagedRecords, SessionsAndFlbsAreJudgedApart) {
  ASSERT_EQ(fdt_setprop_inplace(tree, fdt_path_offset(tree, "/luo-session"), "compatible", "luo-session-v3", 15), 0);
  {
    const auto next = boot();
    EXPECT_EQ(next->retrieve("one").code(), Code::UnknownVersion);
    EXPECT_EQ(next->luo.find_incoming_flb("flb").value(), 5u);
  }
  ASSERT_EQ(fdt_setprop_inplace(tree, fdt_path_offset(tree, "/luo-session"), "compatible", "luo-session-v2", 15), 0);
  flb_header->count = 64;
  const auto next = boot();
  EXPECT_EQ(next->luo.find_incoming_flb("flb").code(), Code::Corrupt);
  EXPECT_TRUE(next->retrieve("one").ok());
}

TEST_F(DamagedRecords, BlocksMustBePreservedAndCountsMustFit) {
  const auto sessions_state = [&](u64 header) {
    const int node = fdt_path_offset(tree, "/luo-session");
    u64 right = 0;
    std::memcpy(&right, fdt_getprop(tree, node, "luo-session-header", nullptr), 8);
    EXPECT_EQ(fdt_setprop_inplace(tree, node, "luo-session-header", &header, 8), 0);
    const auto map = kho::IncomingMap::open(old.host.memory.map, old.handover.numbers());
    const Code state = IncomingStream::open(old.host.memory.map, *map)->sessions_state();
    EXPECT_EQ(fdt_setprop_inplace(tree, node, "luo-session-header", &right, 8), 0);
    return state;
  };
  const u64 right = old.host.memory.map.phys(session_header).value;
  EXPECT_EQ(sessions_state(right), Code::Ok);
  for (u64 bad : {u64{0}, right + 8, right + 4096, ~u64{0}, u64{64} << 20, old.scratch.start.value, u64{0x3000}})
    EXPECT_EQ(sessions_state(bad), Code::Corrupt) << std::hex << bad;
  session_header->count = 819;
  EXPECT_EQ(sessions_state(right), Code::Ok);
  for (u64 count : {u64{820}, u64{1} << 32, ~u64{0}}) {
    session_header->count = count;
    EXPECT_EQ(sessions_state(right), Code::Corrupt) << count;
  }
}

TEST_F(DamagedRecords, ABadSessionCostsThatSessionAndIsNamed) {
  for (const abi::luo::FileSet bad : {abi::luo::FileSet{sessions[1].file_set.files, 129},
                                      {sessions[1].file_set.files, ~u64{0}},
                                      {sessions[1].file_set.files + 64, 1},
                                      {0, 1},
                                      {~u64{0xfff}, 1},
                                      {u64{64} << 20, 1},
                                      {old.handover.numbers().fdt, 1},
                                      {old.host.memory.map.phys(session_header).value, 1},
                                      {old.host.memory.map.phys(tree).value, 1},
                                      {files_block.value, 1}}) {
    const auto right = sessions[1].file_set;
    sessions[1].file_set = bad;
    const auto next = boot();
    EXPECT_EQ(next->retrieve("two").code(), Code::Corrupt) << std::hex << bad.files;
    EXPECT_TRUE(says(*next, "'two'"));
    for (const char* name : {"one", "three"}) {
      const i32 session = next->retrieve(name).value();
      EXPECT_EQ(next->retrieve_fd(session, 1004).ok(), name == std::string("three"));
    }
    EXPECT_EQ(next->luo.freeze().code(), Code::Corrupt) << "what cannot be read cannot be passed on";
    EXPECT_TRUE(says(*next, "refused: cannot pass on session 'two': "));
    EXPECT_TRUE(says(*next, "give it up (LIVEUPDATE_IOCTL_DROP_SESSION on /dev/liveupdate): session 'two'"));
    sessions[1].file_set = right;
  }
  sessions[1].file_set.count = 200;
  const auto next = boot();
  EXPECT_EQ(next->drop("two"), Code::Ok) << "an administrator gives it up";
  EXPECT_TRUE(next->luo.freeze().ok());
}

TEST_F(DamagedRecords, NamesWithoutEndAndDuplicateNamesLoseTheirSession) {
  const auto right = sessions[1];
  std::memset(sessions[1].name, 'x', sizeof sessions[1].name);
  {
    const auto next = boot();
    EXPECT_EQ(next->luo.incoming_session_count(), 2u);
    EXPECT_TRUE(says(*next, "without end of its name"));
    EXPECT_TRUE(next->luo.freeze().ok());
    EXPECT_TRUE(says(*next, "left behind, and what they held is lost"));
    next->luo.unfreeze();
    EXPECT_TRUE(next->retrieve("three").ok());
  }
  sessions[1] = right;
  std::memcpy(sessions[1].name, "one", 4);
  const auto next = boot();
  EXPECT_EQ(next->luo.incoming_session_count(), 2u);
  EXPECT_TRUE(says(*next, "second session of the name 'one'"));
  const i32 session = next->retrieve("one").value();
  EXPECT_TRUE(next->retrieve_fd(session, 1001).ok()) << "the first of the two";
  EXPECT_EQ(next->finish(session), Code::Ok);
  EXPECT_EQ(next->finish(next->retrieve("three").value()), Code::Ok);
  EXPECT_TRUE(next->handover.holds_incoming_map()) << "a lost session's memory stays reserved";
}

TEST_F(DamagedRecords, AFileThatNobodyUnderstandsCostsThatFile) {
  RecordProperty("acceptance", "L10");
  std::memcpy(files[1].compatible, "spy-v9", 7);
  const auto next = boot();
  const i32 session = next->retrieve("one").value();
  EXPECT_EQ(next->retrieve_fd(session, 1002).code(), Code::NotSupported);
  EXPECT_TRUE(next->retrieve_fd(session, 1001).ok());
  EXPECT_EQ(next->luo.freeze().code(), Code::NotSupported) << "nobody could pass it on";
  next->take_log();
  EXPECT_EQ(next->finish(session), Code::Ok);
  EXPECT_EQ(next->take_log(), Log{"finish 1"});
  EXPECT_TRUE(says(*next, "nobody understands"));
  for (const char* name : {"two", "three"}) EXPECT_EQ(next->finish(next->retrieve(name).value()), Code::Ok);
  u64 waiting = 0;
  next->handover.for_each_unrestored([&](Block) { ++waiting; });
  EXPECT_EQ(waiting, 1u) << "its memory can still be listed and reclaimed";
}

TEST_F(DamagedRecords, BadFileRecordsCostThatFile) {
  std::memset(files[1].compatible, 'x', sizeof files[1].compatible);
  {
    const auto next = boot();
    const i32 session = next->retrieve("one").value();
    EXPECT_EQ(next->retrieve_fd(session, 1002).code(), Code::Corrupt);
    EXPECT_TRUE(next->retrieve_fd(session, 1001).ok());
  }
  std::memset(files[1].compatible, 0, sizeof files[1].compatible);
  {
    const auto next = boot();
    EXPECT_EQ(next->retrieve_fd(next->retrieve("one").value(), 1002).code(), Code::Corrupt);
  }
  std::memcpy(files[1].compatible, "spy-v1", 7);
  files[1].token = files[0].token;
  const auto next = boot();
  const i32 session = next->retrieve("one").value();
  const i32 fd = next->retrieve_fd(session, 1001).value();
  EXPECT_EQ(file_cast<SpyFile>(next->process.fds.get(fd)->get())->number, 1u);
  EXPECT_EQ(next->finish(session), Code::Ok);
}

TEST_F(DamagedRecords, UnderPolicyLinuxOneBadByteClosesTheDevice) {
  RecordProperty("acceptance", "L10");
  std::memcpy(files[1].compatible, "spy-v9", 7);
  EXPECT_EQ(boot(Policy::Linux)->luo.open_device().code(), Code::Io);
  std::memcpy(files[1].compatible, "spy-v1", 7);
  EXPECT_TRUE(boot(Policy::Linux)->luo.open_device().ok());
  sessions[0].file_set.count = 1000;
  const auto next = boot(Policy::Linux);
  EXPECT_EQ(next->luo.open_device().code(), Code::Io);
  EXPECT_EQ(next->luo.open_device().code(), Code::Io) << "sticky";
}

TEST_F(DamagedRecords, TwoFlbsOfOneNameAreNone) {
  flbs[1] = flbs[0];
  flb_header->count = 2;
  const auto next = boot();
  EXPECT_EQ(next->luo.find_incoming_flb("flb").code(), Code::Corrupt);
}

TEST_F(DamagedRecords, EveryFieldMayHoldAnything) {
  // No crash, no loop, no wild access, whatever stands there; and what is not touched works.
  const auto survive = [&] {
    const auto next = boot();
    for (const char* name : {"one", "two", "three"}) {
      const auto session = next->retrieve(name);
      if (session.ok()) (void)next->retrieve_fd(*session, 99);
    }
    (void)next->luo.find_incoming_flb("flb");
    (void)next->luo.freeze();
  };
  const std::vector<u64> values{0,
                                ~u64{0},
                                0x1000,
                                u64{64} << 20,
                                old.handover.numbers().fdt,
                                old.host.memory.map.phys(session_header).value,
                                files_block.value + 4096};
  const auto mutate = [&](void* field, u64 size) {
    std::vector<std::byte> right(size);
    std::memcpy(right.data(), field, size);
    for (u64 value : values) {
      std::memcpy(field, &value, std::min<u64>(size, 8));
      survive();
    }
    std::memset(field, 0xff, size);
    survive();
    std::memcpy(field, right.data(), size);
  };
  mutate(&session_header->count, 8);
  mutate(sessions[0].name, sizeof sessions[0].name);
  mutate(&sessions[0].file_set.files, 8);
  mutate(&sessions[0].file_set.count, 8);
  mutate(files[0].compatible, sizeof files[0].compatible);
  mutate(&files[0].token, 8);
  mutate(&flb_header->page_count, 8);
  mutate(&flb_header->count, 8);
  mutate(flbs[0].name, sizeof flbs[0].name);
  mutate(&flbs[0].data, 8);
  mutate(&flbs[0].count, 8);
  const std::vector<std::byte> right(tree, tree + 512);
  for (u64 at = 0; at < 320; ++at) {
    tree[at] ^= std::byte{0xff};
    survive();
    std::copy(right.begin(), right.end(), tree);
  }
}

}  // namespace
}  // namespace holdfast::luo
