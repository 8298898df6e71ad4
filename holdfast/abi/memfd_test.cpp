// Golden bytes of the memfd records, typed by hand.
#include "holdfast/abi/memfd.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace holdfast::abi::memfd {
namespace {

template <class T>
std::vector<u8> bytes_of(const T& record) {
  std::vector<u8> bytes(sizeof record);
  std::memcpy(bytes.data(), &record, sizeof record);
  return bytes;
}

TEST(MemfdAbi, MemfdRecordHasItsGoldenBytes) {
  const MemfdRecord record{.position = 77,
                           .size_bytes = 12411,
                           .seals = 0x0f,
                           .flags = 0,
                           .folio_count = 4,
                           .folios = {.first = 0xd89000, .total_pages = 1, .flags = vmalloc_alloc, .order = 9}};
  const std::vector<u8> golden{77,   0,    0,    0, 0, 0, 0, 0,  // position
                               0x7b, 0x30, 0,    0, 0, 0, 0, 0,  // size
                               0x0f, 0,    0,    0,              // seals
                               0,    0,    0,    0,              // flags
                               4,    0,    0,    0, 0, 0, 0, 0,  // folios
                               0x00, 0x90, 0xd8, 0, 0, 0, 0, 0,  // first chunk
                               1,    0,    0,    0,              // pages
                               1,    0,    9,    0};             // flags, order
  EXPECT_EQ(bytes_of(record), golden);
}

TEST(MemfdAbi, FolioKeepsItsFlagsAboveTheFrame) {
  const Folio folio{.frame_and_flags = 0x19ec | Folio::dirty | Folio::up_to_date, .index = 3};
  const std::vector<u8> golden{0xec, 0x19, 0, 0, 0, 0, 0x30, 0, 3, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(bytes_of(folio), golden);
  EXPECT_EQ(folio.frame(), Pfn(0x19ec));
  EXPECT_EQ(folio.flags(), Folio::dirty | Folio::up_to_date);
}

TEST(MemfdAbi, ChunkIsNextAndThenPages) {
  VmallocChunk chunk{};
  chunk.next = 0x1000;
  chunk.pages[0] = 0xd9f000;
  chunk.pages[510] = 0x5000;
  const auto bytes = bytes_of(chunk);
  EXPECT_EQ(bytes[1], 0x10);
  EXPECT_EQ(bytes[9], 0xf0);
  EXPECT_EQ(bytes[10], 0xd9);
  EXPECT_EQ(bytes[4089], 0x50);
}

}  // namespace
}  // namespace holdfast::abi::memfd
