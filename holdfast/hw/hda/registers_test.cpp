#include "holdfast/hw/hda/registers.hpp"

#include <gtest/gtest.h>

namespace holdfast::hw::hda {
namespace {

// Typed from the manual.
TEST(HdaManual, VerbsArePackedAsTheLinkSendsThem) {
  EXPECT_EQ(long_verb(0, 2, verb_set_format, 0x0011), 0x00220011u);
  EXPECT_EQ(short_verb(0, 2, verb_set_stream, 0x10), 0x00270610u);
  EXPECT_EQ(short_verb(0, 4, verb_set_stream, 0x20), 0x00470620u);
  EXPECT_EQ(long_verb(3, 1, verb_set_format, 0), 0x30120000u);
}

TEST(HdaManual, StreamDescriptorsFollowOneAnother) {
  EXPECT_EQ(stream_offset(0), 0x80u);
  EXPECT_EQ(stream_offset(4), 0x100u);
  EXPECT_EQ(StreamCtl().with<stream_ctl::Run>(1).with<stream_ctl::Strm>(2).raw(), 0x00200002u);
}

TEST(HdaManual, FormatsAndCapabilities) {
  EXPECT_EQ(Format().with<format::SampleBits>(1).with<format::Chan>(1).raw(), 0x0011u);  // 48 kHz, 16 bits, stereo
  EXPECT_EQ(Gcap(0x4401).get<gcap::Iss>(), 4u);
  EXPECT_EQ(Gcap(0x4401).get<gcap::Oss>(), 4u);
  EXPECT_EQ(Ics().with<ics::Irv>(1).with<ics::Icb>(1).raw(), 3u);
}

}  // namespace
}  // namespace holdfast::hw::hda
