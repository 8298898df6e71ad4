// Golden bytes of every LUO record, typed by hand.
#include "holdfast/abi/luo.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace holdfast::abi::luo {
namespace {

using Bytes = std::vector<u8>;

template <class T>
Bytes bytes_of(const T& record) {
  Bytes bytes(sizeof record);
  std::memcpy(bytes.data(), &record, sizeof record);
  return bytes;
}

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Bytes zeroes(size_t count) { return Bytes(count, 0); }

TEST(LuoAbi, FileRecordHasItsGoldenBytes) {
  FileRecord record{};
  std::memcpy(record.compatible, "memfd-v2", 8);
  record.data = 0xd94000;
  record.token = 0x1001;
  EXPECT_EQ(bytes_of(record), joined({{'m', 'e', 'm', 'f', 'd', '-', 'v', '2'},
                                      zeroes(40),
                                      {0x00, 0x40, 0xd9, 0, 0, 0, 0, 0},
                                      {0x01, 0x10, 0, 0, 0, 0, 0, 0}}));
}

TEST(LuoAbi, SessionRecordHasItsGoldenBytes) {
  SessionRecord record{};
  std::memcpy(record.name, "vm-alpha", 8);
  record.file_set = {0x2032000, 1};
  EXPECT_EQ(bytes_of(record), joined({{'v', 'm', '-', 'a', 'l', 'p', 'h', 'a'},
                                      zeroes(56),
                                      {0x00, 0x20, 0x03, 0x02, 0, 0, 0, 0},
                                      {0x01, 0, 0, 0, 0, 0, 0, 0}}));
}

TEST(LuoAbi, SessionHeaderIsOneCount) { EXPECT_EQ(bytes_of(SessionHeader{0x0102}), (Bytes{2, 1, 0, 0, 0, 0, 0, 0})); }

TEST(LuoAbi, FlbHeaderIsPagesThenCount) {
  EXPECT_EQ(bytes_of(FlbHeader{1, 3}), (Bytes{1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(LuoAbi, FlbRecordHasItsGoldenBytes) {
  FlbRecord record{};
  std::memcpy(record.name, "iommu-liveupdate", 16);
  record.data = 0x8877665544332211;
  record.count = 20;
  EXPECT_EQ(bytes_of(record), joined({{'i', 'o', 'm', 'm', 'u', '-', 'l', 'i', 'v', 'e', 'u', 'p', 'd', 'a', 't', 'e'},
                                      zeroes(32),
                                      {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88},
                                      {20, 0, 0, 0, 0, 0, 0, 0}}));
}

TEST(LuoAbi, NamesAreLinuxs) {
  EXPECT_EQ(subtree_name, "LUO");
  EXPECT_EQ(compatible, "luo-v1");
  EXPECT_EQ(session_compatible, "luo-session-v2");
  EXPECT_EQ(flb_compatible, "luo-flb-v1");
}

}  // namespace
}  // namespace holdfast::abi::luo
