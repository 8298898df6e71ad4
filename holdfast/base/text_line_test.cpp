// Lines of the log, put together by hand.
#include "holdfast/base/text_line.hpp"

#include <gtest/gtest.h>

#include <string>

namespace holdfast {
namespace {

TEST(TextLine, SaysNumbersInBothBases) {
  EXPECT_EQ(TextLine().number(0).text(" ").number(~u64{0}).view(), "0 18446744073709551615");
  EXPECT_EQ(TextLine().hex(0).text(" ").hex(0xabc, 2).text(" ").hex(7, 4).view(), "0 abc 0007");
  EXPECT_EQ(TextLine().hex(~u64{0}).view(), "ffffffffffffffff");
}

TEST(TextLine, NamesDevicesAsPciDoes) {
  EXPECT_EQ(TextLine().device(SourceId(0x3a, 0x1f, 7)).view(), "3a:1f.7");
  EXPECT_EQ(TextLine().device(1, SourceId(0, 2, 0)).view(), "0001:00:02.0");
}

TEST(TextLine, ShowsThatItWasCutOff) {
  TextLine line;
  std::string whole;
  while (line.view().size() == whole.size()) {
    line.text("x");
    whole += "x";
  }
  EXPECT_EQ(line.view(), std::string(whole.size() - 2, 'x') + "~");
  line.text("more");
  EXPECT_EQ(line.view().size(), whole.size() - 1);
}

}  // namespace
}  // namespace holdfast
