// The readers: lines, serial log, trace, QMP answers, table of outcomes, changed images.
#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "host/elf_note.hpp"
#include "host/run_error.hpp"
#include "tests/metal/bench.hpp"
#include "tests/metal/image_file.hpp"
#include "tests/metal/outcome.hpp"
#include "tests/metal/qmp.hpp"
#include "tests/metal/scenario.hpp"
#include "tests/metal/serial.hpp"
#include "tests/metal/trace.hpp"
#include "tests/metal/updates.hpp"

namespace metal_test {
namespace {

using std::string_literals::operator""s;

TEST(SerialLine, HasTheFieldsThatItNames) {
  const Line line = parse_line("hf: total workload=net received=20000 root=0x1f flag\r\n");
  EXPECT_EQ(line.what, "total");
  EXPECT_TRUE(line.is("total", "net"));
  EXPECT_FALSE(line.is("total", "hda"));
  EXPECT_EQ(line.number("received"), 20000u);
  EXPECT_EQ(line.number("root"), 0x1fu);
  EXPECT_EQ(line.number("flag"), std::nullopt);
  EXPECT_EQ(line.number("workload"), std::nullopt);
  EXPECT_EQ(line.number("absent"), std::nullopt);
  EXPECT_EQ(line.text, "hf: total workload=net received=20000 root=0x1f flag");
}

TEST(SerialLine, IsTextForPeopleWithoutTheMark) {
  const Line line = parse_line("kernel 0: info: total workload=net");
  EXPECT_EQ(line.what, "");
  EXPECT_TRUE(line.fields.empty());
}

TEST(SerialLine, LosesItsNumbersAndKeepsItsNames) {
  EXPECT_EQ(without_numbers("e1000e at 0xfeb00000, 12 of 8192 (id=3) nvme0 v1"),
            "e1000e at 0xN, N of N (id=N) nvme0 v1");
  EXPECT_EQ(without_numbers("a=0x b=0xg"), "a=Nx b=Nxg");
}

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    reading.reset(ends[0]);
    writing.reset(ends[1]);
  }
  void write(std::string_view text) const {
    EXPECT_EQ(::write(writing.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  host::UniqueFd reading;
  host::UniqueFd writing;
};

host::UniqueFd nowhere() { return host::UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)); }
Clock::time_point soon(int milliseconds = 5000) { return Clock::now() + std::chrono::milliseconds(milliseconds); }

TEST(SerialLog, WaitsForALineThatComesInPieces) {
  Pipe pipe;
  SerialLog log(std::move(pipe.reading), nowhere());
  pipe.write("hf: rea");
  const auto ready = [](const Line& line) { return line.is("ready"); };
  EXPECT_FALSE(log.wait_for(ready, soon(20)));
  std::thread writer([&] { pipe.write("dy workload=net\nhf: back"); });
  EXPECT_TRUE(log.wait_for(ready, soon()));
  writer.join();
  EXPECT_FALSE(log.wait_for([](const Line& line) { return line.is("back"); }, soon(20)));
  pipe.writing.reset();
  log.wait_for_end();
  EXPECT_TRUE(log.wait_for([](const Line& line) { return line.is("back"); }, soon()));
  EXPECT_FALSE(log.wait_for([](const Line& line) { return line.is("gone"); }, soon()));
  EXPECT_EQ(log.text(), "hf: ready workload=net\nhf: back");
  EXPECT_EQ(log.lines().size(), 2u);
}

TEST(IommuTrace, IsCountedByEvent) {
  const TraceCounts counts = count_trace(
      "123@1700000000.5:vtd_dmar_enable enable 1\n"
      "123@1700000000.6:vtd_reg_dmar_root addr 0x1000 scalable 1\n"
      "123@1700000000.7:vtd_dmar_fault sid 0x20 fault 6 addr 0x1000 write 1\n"
      "vtd_dmar_fault sid 0x28\n"
      "123@1700000000.8:vtd_dmar_fault_disabled\n"
      "vtd_dmar_enable enable 0");
  EXPECT_EQ(counts.enables, 2u);
  EXPECT_EQ(counts.roots, 1u);
  EXPECT_EQ(counts.faults, 2u);
  EXPECT_EQ(counts.faults_of, (std::map<u16, u64>{{0x20, 1}, {0x28, 1}}));
  ASSERT_EQ(counts.first_faults.size(), 2u);
  EXPECT_NE(counts.first_faults[0].find("sid 0x20"), std::string::npos);
  EXPECT_THROW((void)read_trace("/nonexistent/trace"), host::RunError);
}

constexpr const char* two_kernels =
    "1@1.0:vtd_inv_qi_enable enabled 1\n"
    "1@1.1:vtd_inv_desc_iotlb_global iotlb invalidate global\n"
    "1@1.2:vtd_iotlb_page_update IOTLB page update sid 0x20 iova 0x1000 slpte 0x2003 domain 0x1\n"
    "1@1.3:vtd_iotlb_page_update IOTLB page update sid 0x38 iova 0x1000 slpte 0x2003 domain 0x2\n"
    "1@1.4:vtd_inv_qi_enable enabled 0\n"
    "1@1.5:vtd_inv_qi_enable enabled 1\n"
    "1@1.6:vtd_iotlb_page_update IOTLB page update sid 0x38 iova 0x1000 slpte 0x2003 domain 0x2\n";
constexpr const char* forgotten = "1@1.7:vtd_inv_desc_iotlb_global iotlb invalidate global\n";
constexpr const char* walked = "1@1.8:vtd_iotlb_page_update IOTLB page update sid 0x20 iova 0x1000 slpte 0x2003\n";

TEST(IommuTrace, KnowsWhatWasWalkedAnewUnderWhichKernel) {
  using Wrong = std::vector<std::string>;
  const std::string begun = two_kernels;
  const TraceCounts none = count_trace(begun);
  ASSERT_EQ(none.kernels.size(), 2u);
  EXPECT_EQ(none.kernels[0].walks, (std::map<u16, u64>{{0x20, 1}, {0x38, 1}}));
  EXPECT_EQ(check_walked_anew(none, 1).size(), 3u) << "nothing was forgotten, and nobody walked for after it";
  const TraceCounts one = count_trace(begun + forgotten + walked);
  EXPECT_EQ(check_walked_anew(one, 1), Wrong{"update 1: source 0x38 was not walked for again"});
  EXPECT_EQ(check_walked_anew(one, 1, {0x38}), Wrong());
  EXPECT_EQ(check_walked_anew(count_trace(begun + walked + forgotten), 1, {0x38}).size(), 1u) << "walked before it";
  EXPECT_EQ(check_walked_anew(one, 2, {0x38}).size(), 1u) << "a kernel too few";
}

TEST(QmpAnswer, IsReadAsWordsOfARegister) {
  EXPECT_EQ(parse_examined("00000000fed90020: 0x00123400 0x00000004\r\n", 2), 0x4'0012'3400u);
  EXPECT_EQ(parse_examined("00000000fed90034: 0x00000000\r\n", 1), 0u);
  EXPECT_EQ(parse_examined("00000000fed90020: 0x00123400\r\n", 2), std::nullopt);
  EXPECT_EQ(parse_examined("Cannot access memory", 1), std::nullopt);
}

TEST(UpdateLines, AreUpdatesWithTheirPhases) {
  std::vector<Line> lines;
  for (const char* text :
       {"hf: boot generation=1 cycles=5",
        "hf: update generation=1 blackout_ns=77 blackout_cycles=200 "
        "tables=1 blocks=2 records=3 files=4 frames=5",
        "hf: phase name=FreezeBegin cycles=-50 value=1", "hf: phase name=LastConsent cycles=0 value=2",
        "hf: phase name=AdoptionDone cycles=200 value=9"})
    lines.push_back(parse_line(text));
  const std::vector<Update> updates = collect_updates(lines);
  ASSERT_EQ(updates.size(), 1u);
  EXPECT_EQ(updates[0].generation, 1u);
  EXPECT_EQ(updates[0].blackout_ns, 77u);
  EXPECT_EQ(updates[0].touched, (TouchCounts{1, 2, 3, 4, 5}));
  ASSERT_EQ(updates[0].phases.size(), 3u);
  EXPECT_EQ(updates[0].phases[0].cycles, -50);
  EXPECT_EQ(updates[0].find("AdoptionDone")->value, 9u);
  EXPECT_EQ(updates[0].find("JumpFailed"), nullptr);
  EXPECT_NE(updates[0].phases_text("cycles", 8).find("25"), std::string::npos);
}

TEST(Outcome, PassesOnlyWhenSomethingWasCheckedAndNothingFailed) {
  Outcome outcome("net (QEMU 7)", "/logs/net");
  EXPECT_FALSE(outcome.passed());
  EXPECT_NE(outcome.failures().find("nothing was checked"), std::string::npos);
  outcome.expect_equal("frames", 5u, 5u);
  outcome.expect_none("tables", {});
  EXPECT_TRUE(outcome.passed());
  EXPECT_EQ(outcome.failures(), "");
  outcome.expect_more("landed", 0, 0);
  outcome.expect_none("changes", {"page 0x1000 changed"});
  EXPECT_FALSE(outcome.passed());
  const std::string table = table_of({outcome});
  EXPECT_NE(table.find("FAILED"), std::string::npos);
  EXPECT_NE(table.find("landed: 0, expected more than 0"), std::string::npos);
  EXPECT_NE(table.find("page 0x1000 changed"), std::string::npos);
  EXPECT_NE(table.find("/logs/net"), std::string::npos);
  EXPECT_EQ(table.find("frames: 5"), std::string::npos);
  outcome.tell_at_end("said once");
  const std::string twice = table_of({outcome, outcome});
  EXPECT_EQ(twice.find("said once"), twice.rfind("said once"));
}

TEST(Scenario, ThatCannotBeRunIsAFailedOutcome) {
  const Bench bench{.binary = {"/nonexistent/qemu", {}, {}}, .release = 7, .image = {}, .logs = "/logs"};
  const auto throws = [](const Bench&) -> std::vector<Outcome> {
    throw host::RunError(host::ExitCode::Internal, "guest RAM has no boot page");
  };
  const std::vector<Outcome> outcomes = run_scenario({"lame", "cannot be run", throws}, bench);
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].name(), "lame (QEMU 7)");
  EXPECT_FALSE(outcomes[0].passed());
  EXPECT_NE(table_of(outcomes).find("it can be run: guest RAM has no boot page"), std::string::npos);
}

// An ELF64 program of one segment, with the note behind a text that only looks like it.
class ChangedImage : public testing::Test {
 protected:
  ChangedImage() : x_folder(std::filesystem::path(testing::TempDir()) / ("images-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(x_folder);
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_phoff = sizeof header;
    header.e_phnum = 1;
    header.e_phentsize = sizeof(Elf64_Phdr);
    Elf64_Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_offset = sizeof header + sizeof segment;
    segment.p_filesz = 40;
    segment.p_paddr = 0x10'0800;
    segment.p_memsz = 4096;
    const std::string layouts = "kho-v2\0luo-v1\0luo-session-v2\0"s;
    const Elf64_Nhdr note{.n_namesz = 9, .n_descsz = static_cast<u32>(layouts.size()), .n_type = 1};
    std::ofstream(image(), std::ios::binary) << bytes_of(header) << bytes_of(segment) << "Holdfast\0\0\0\0\0luo-v1\0"s
                                             << bytes_of(note) << "Holdfast\0\0\0\0"s << layouts << "\0of-nobody\0"s;
  }
  ~ChangedImage() override { std::filesystem::remove_all(x_folder); }
  [[nodiscard]] std::filesystem::path image() const { return x_folder / "image"; }
  [[nodiscard]] std::filesystem::path copy() const { return x_folder / "copy"; }
  static std::string read(const std::filesystem::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }

 private:
  template <class T>
  static std::string bytes_of(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }

  std::filesystem::path x_folder;
};

TEST_F(ChangedImage, LacksTheLayoutAndNothingElse) {
  copy_without_layout(image(), copy(), "luo-v1");
  const std::string before = read(image());
  const std::string after = read(copy());
  ASSERT_EQ(before.size(), after.size());
  unsigned different = 0;
  for (std::size_t i = 0; i < before.size(); ++i) different += before[i] != after[i] ? 1 : 0;
  EXPECT_EQ(different, 1u);
  EXPECT_EQ(after.find("\0luo-v1\0"s, before.rfind("Holdfast")), std::string::npos);
  EXPECT_NE(after.find("\0luo-session-v2\0"s, before.rfind("Holdfast")), std::string::npos);
  EXPECT_THROW(copy_without_layout(image(), copy(), "of-nobody"), host::RunError);
}

TEST_F(ChangedImage, SaysWhereItIsLoaded) {
  const PhysRange range = loaded_range(image());
  EXPECT_EQ(range.start, PhysAddr(0x10'0000));
  EXPECT_EQ(range.size_bytes, 0x2000u);
}

TEST_F(ChangedImage, WantsMoreMemoryThanThereIs) {
  copy_too_large(image(), copy());
  EXPECT_EQ(read(copy()).size(), read(image()).size());
  EXPECT_NE(read(copy()), read(image()));
  write_text_in_place_of_image(image());
  EXPECT_THROW(copy_too_large(image(), copy()), host::RunError);
}

TEST_F(ChangedImage, EndsInTheMiddleOfWhatIsLoaded) {
  copy_cut_off(image(), copy());
  EXPECT_EQ(read(copy()), read(image()).substr(0, sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + 20));
}

class Benches : public testing::Test {
 protected:
  Benches() : x_folder(std::filesystem::path(testing::TempDir()) / ("benches-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(x_folder);
    choice.image = x_folder / "image";
    choice.logs = x_folder;
    std::ofstream(choice.image) << "not looked at";
  }
  ~Benches() override { std::filesystem::remove_all(x_folder); }
  /// A program that answers so to --version.
  void use_qemu_that_says(const std::string& version) {
    choice.binary = x_folder / "qemu";
    std::ofstream(choice.binary) << "#!/bin/sh\necho '" << version << "'\n";
    std::filesystem::permissions(choice.binary, std::filesystem::perms::owner_all);
  }
  [[nodiscard]] std::string refusal() const {
    try {
      (void)benches_of(choice);
    } catch (const host::RunError& error) {
      EXPECT_EQ(error.code(), host::ExitCode::InputMissing);
      return error.what();
    }
    return "none";
  }

  BenchChoice choice;

 private:
  std::filesystem::path x_folder;
};

TEST_F(Benches, TakeAQemuThatIsNewEnough) {
  use_qemu_that_says("QEMU emulator version 9.1.0 (of somebody)");
  const std::vector<Bench> benches = benches_of(choice);
  ASSERT_EQ(benches.size(), 1u);
  EXPECT_EQ(benches[0].release, 9u);
  EXPECT_EQ(benches[0].binary.path, choice.binary);
}

TEST_F(Benches, RefuseAQemuThatIsTooOld) {
  use_qemu_that_says("QEMU emulator version 6.2.0");
  EXPECT_NE(refusal().find("QEMU 6, which is too old"), std::string::npos) << refusal();
}

TEST_F(Benches, RefuseWhatIsNoQemu) {
  use_qemu_that_says("GNU bash, version 5.2");
  EXPECT_NE(refusal().find("no QEMU that runs"), std::string::npos) << refusal();
  choice.binary = "/nonexistent/qemu";
  EXPECT_NE(refusal().find("no QEMU that runs"), std::string::npos) << refusal();
}

TEST_F(Benches, SaySoWhenThereIsNoQemuAtAll) {
  choice.releases = {99};
  EXPECT_EQ(refusal(), "there is no QEMU to run on");
}

TEST_F(Benches, WantAnImage) {
  use_qemu_that_says("QEMU emulator version 9.1.0");
  choice.image = "/nonexistent/image";
  EXPECT_EQ(refusal(), "there is no kernel image /nonexistent/image");
}

}  // namespace
}  // namespace metal_test
