#include "holdfast/kernel/options.hpp"

#include <gtest/gtest.h>

#include "holdfast/kernel/image_note.hpp"

namespace holdfast::kernel {
namespace {

TEST(KernelOptions, DefaultsAreScalableHoldfastArena) {
  const auto options = parse_command_line("");
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->mode, vtd::Mode::Scalable);
  EXPECT_EQ(options->policy, luo::Policy::Holdfast);
  EXPECT_EQ(options->tables, TableMode::Arena);
  EXPECT_EQ(options->rid_pasid, 0u);
  EXPECT_EQ(options->stage, std::nullopt) << "whatever the unit has";
  EXPECT_EQ(options->rid_pasid_support, vtd::RidPasidSupport::Reported);
}

TEST(KernelOptions, StageIsFirstOrSecond) {
  EXPECT_EQ(parse_command_line("stage=first")->stage, pt::Format::X86FirstStage);
  EXPECT_EQ(parse_command_line("stage=first stage=second")->stage, pt::Format::VtdSecondStage);
  EXPECT_EQ(parse_command_line("stage=second mode=legacy")->stage, pt::Format::VtdSecondStage);
  for (const char* line : {"stage", "stage=", "stage=nested", "stage=First", "stage=1"})
    EXPECT_EQ(parse_command_line(line).code(), Code::Invalid) << line;
}

TEST(KernelOptions, RidPasidIsANumberThatADirectoryReaches) {
  for (const auto& [line, expected] :
       {std::pair{"rid_pasid=0", 0u}, {"rid_pasid=65", 65u}, {"rid_pasid=32767 mode=scalable", 32767u}}) {
    const auto options = parse_command_line(line);
    ASSERT_TRUE(options.ok()) << line;
    EXPECT_EQ(options->rid_pasid, expected);
  }
  for (const char* line :
       {"rid_pasid", "rid_pasid=", "rid_pasid=0x41", "rid_pasid=-1", "rid_pasid=6 5", "rid_pasid=32768",
        "rid_pasid=1048576", "rid_pasid=4294967361", "rid_pasid=18446744073709551681"})
    EXPECT_EQ(parse_command_line(line).code(), Code::Invalid) << line;
}

TEST(KernelOptions, RidPasidBelongsToScalableMode) {
  EXPECT_EQ(parse_command_line("rid_pasid=65 mode=legacy").code(), Code::Invalid);
  EXPECT_EQ(parse_command_line("mode=legacy rid_pasid=65").code(), Code::Invalid);
  EXPECT_TRUE(parse_command_line("mode=legacy rid_pasid=0").ok());
  EXPECT_TRUE(parse_command_line("mode=legacy rid_pasid=65 mode=scalable").ok());
}

TEST(KernelOptions, RpsIsReportedOrAssumed) {
  EXPECT_EQ(parse_command_line("rps=assumed")->rid_pasid_support, vtd::RidPasidSupport::Assumed);
  EXPECT_EQ(parse_command_line("rid_pasid=65 rps=assumed")->rid_pasid, 65u);
  EXPECT_EQ(parse_command_line("rps=assumed rps=reported")->rid_pasid_support, vtd::RidPasidSupport::Reported);
  for (const char* line : {"rps", "rps=", "rps=1", "rps=Assumed", "rps=assume"})
    EXPECT_EQ(parse_command_line(line).code(), Code::Invalid) << line;
}

TEST(KernelOptions, ReadsEveryWordAndTheLastOneWins) {
  const auto options = parse_command_line("  mode=legacy policy=linux  tables=page mode=scalable mode=legacy");
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->mode, vtd::Mode::Legacy);
  EXPECT_EQ(options->policy, luo::Policy::Linux);
  EXPECT_EQ(options->tables, TableMode::Page);
}

TEST(KernelOptions, RefusesWhatItDoesNotKnow) {
  for (const char* line : {"mode=", "mode", "mode=fast", "speed=high", "tables=Arena"})
    EXPECT_EQ(parse_command_line(line).code(), Code::Invalid) << line;
}

TEST(ImageNote, ListsEveryLayoutThatThisImageWrites) {
  for (const char* layout : {"kho-v2", "luo-v1", "luo-session-v2", "luo-flb-v1", "memfd-v2", "iommu-liveupdate:1",
                             "iommu-liveupdate:1212547073", "holdfast-iommufd-v1", "holdfast-vfio-pci-v1",
                             "holdfast-pci-v1", "holdfast-attest-v1", "holdfast-pt:2"})
    EXPECT_TRUE(note_names(own_note(), layout)) << layout;
  EXPECT_FALSE(note_names(own_note(), "kho-v"));
  EXPECT_FALSE(note_names(own_note(), "ho-v2"));
  EXPECT_FALSE(note_names(own_note(), ""));
}

TEST(ImageNote, RefusesASuccessorThatLacksOneLayoutAndNamesIt) {
  RecordProperty("acceptance", "K20");
  std::string next(own_note());
  std::string_view missing;
  EXPECT_TRUE(check_next_image(next, {}, missing).ok());
  next.replace(next.find("memfd-v2"), 8, "memfd-v3");
  EXPECT_EQ(check_next_image(next, {}, missing).code(), Code::UnknownVersion);
  EXPECT_EQ(missing, "memfd-v2");
  EXPECT_EQ(check_next_image("", {}, missing).code(), Code::UnknownVersion);
}

TEST(ImageNote, AsksForFirstStageTablesOnlyWhenTheyAreWritten) {
  RecordProperty("acceptance", "K20");
  std::string older(own_note());
  older.resize(older.find("holdfast-pt:2") - 1);
  std::string_view missing;
  EXPECT_TRUE(check_next_image(older, {.first_stage = false}, missing).ok());
  EXPECT_EQ(check_next_image(older, {.first_stage = true}, missing).code(), Code::UnknownVersion);
  EXPECT_EQ(missing, "holdfast-pt:2");
  EXPECT_TRUE(check_next_image(own_note(), {.first_stage = true}, missing).ok());
}

}  // namespace
}  // namespace holdfast::kernel
