// Golden bytes of the attestation, and of the other records of ours that cross a jump.
#include "holdfast/abi/attest.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "holdfast/abi/iommufd.hpp"
#include "holdfast/abi/pci.hpp"
#include "holdfast/abi/vfio.hpp"

namespace holdfast::abi {
namespace {

/// The record as 64-bit little-endian words.
template <class Record>
std::vector<u64> words_of(const Record& record) {
  static_assert(sizeof(Record) % 8 == 0);
  std::vector<u64> words(sizeof(Record) / 8);
  std::memcpy(words.data(), &record, sizeof(Record));
  return words;
}
using Words = std::vector<u64>;

TEST(AttestRecords, HeaderStartsWithItsName) {
  attest::Header header{};
  header.magic = attest::magic;
  header.version = 1;
  header.size = 72;
  header.generation = 5;
  header.unit_array = 0x1000;
  header.domain_array = 0x2000;
  header.device_array = 0x3000;
  header.memfd_array = 0x4000;
  header.table_mode = static_cast<u32>(attest::TableMode::Arena);
  header.checksum = 9;
  EXPECT_EQ(words_of(header), (Words{0x5453455454414648, 72ull << 32 | 1, 5, 0x1000, 0x2000, 0x3000, 0x4000, 2, 9}));
  EXPECT_EQ(std::memcmp(&header, "HFATTEST", 8), 0);
}

TEST(AttestRecords, UnitSaysWhatTheUnitCanDo) {
  attest::UnitAttest unit{};
  unit.header.flags = 1;
  unit.record_phys = 0x1010;
  unit.record_checksum = 0x77;
  unit.register_base = 0xfed90000;
  unit.capability = 0xcafe;
  unit.extended_capability = 0xecaf;
  unit.root_table = 0x9000;
  unit.page_sizes = 0x201000;
  unit.domain_ids = 0x10000;
  unit.scalable = 1;
  unit.iova_bits = 48;
  unit.levels_mask = 0x18;
  unit.coherent = 1;
  unit.checksum = 3;
  EXPECT_EQ(words_of(unit),
            (Words{1ull << 32, 0x1010, 0x77, 0xfed90000, 0xcafe, 0xecaf, 0x9000, 0x201000, 0x0118300100010000, 3}));
}

TEST(AttestRecords, DeviceSaysWhoItIsAndWhatItsEntryWas) {
  attest::DeviceAttest device{};
  device.record_phys = 0x2010;
  device.record_checksum = 0x88;
  device.devid = 0x310;
  device.pci_domain_nr = 2;
  device.vendor = 0x8086;
  device.device = 0x10d3;
  device.class_revision = 0x02000003;
  device.live_entry = {1, 2, 3, 4, 5, 6, 7, 8};
  device.checksum = 4;
  EXPECT_EQ(words_of(device),
            (Words{0, 0x2010, 0x88, 2ull << 32 | 0x310, 0x0200000310d38086, 1, 2, 3, 4, 5, 6, 7, 8, 4}));
}

TEST(AttestRecords, DomainSaysWhatItIsMadeOf) {
  attest::DomainAttest domain{};
  domain.record_phys = 0x3010;
  domain.record_checksum = 0x99;
  domain.format = 1;
  domain.table_mode = static_cast<u32>(attest::TableMode::Page);
  domain.levels = 4;
  domain.iova_bits = 48;
  domain.block_list = 0x5000;
  domain.block_count = 3;
  domain.table_count = 100;
  domain.checksum_root = 0xabcd;
  domain.checksum = 5;
  EXPECT_EQ(words_of(domain), (Words{0, 0x3010, 0x99, 1ull << 32 | 1, 0x3004, 0x5000, 3, 100, 0xabcd, 5}));
}

TEST(AttestRecords, MemfdSaysHowItWasOpen) {
  const attest::MemfdAttest memfd{
      .header = {}, .record_phys = 0x4010, .open_flags = 0x8002, .mode = 0x81c0, .checksum = 6};
  EXPECT_EQ(words_of(memfd), (Words{0, 0x4010, 0x81c000008002, 6}));
}

TEST(AttestRecords, BlockListPageHoldsAddressAndOrder) {
  attest::BlockListPage page{};
  page.next = 0x6000;
  page.nr_blocks = 1;
  page.checksum = 7;
  page.blocks[0] = {.phys = 0x40000, .order = 6};
  const Words words = words_of(page);
  EXPECT_EQ(Words(words.begin(), words.begin() + 6), (Words{0x6000, 1, 7, 0, 0x40000, 6}));
  EXPECT_EQ(words.size(), 512u);
}

TEST(FileRecords, HaveTheirBytes) {
  const iommufd::Header header{.nr_hwpts = 2, .flags = 0, .checksum = 8};
  EXPECT_EQ(words_of(header), (Words{2, 0, 8}));
  const iommufd::Hwpt hwpt{.token = 0x11, .domain_phys = 0x3010, .page_sizes = 0x1000};
  EXPECT_EQ(words_of(hwpt), (Words{0x11, 0x3010, 0x1000}));
  const vfio::Device device{.bdf = 0x310,
                            .segment = 1,
                            .has_iommufd = 1,
                            .is_attached = 1,
                            .padding = {},
                            .iommufd_token = 0x22,
                            .hwpt_token = 0x11,
                            .domain_phys = 0x3010,
                            .checksum = 9};
  EXPECT_EQ(words_of(device), (Words{0x0000010100010310, 0x22, 0x11, 0x3010, 9}));
  const pci::Header pci_header{.max_nr_devices = 4, .nr_devices = 1, .checksum = 10};
  EXPECT_EQ(words_of(pci_header), (Words{4, 1, 10}));
  const pci::Device pci_device{.segment = 1,
                               .bdf = 0x310,
                               .reserved = 0,
                               .ref_count = 2,
                               .vendor = 0x8086,
                               .device = 0x10d3,
                               .class_revision = 0x02000003,
                               .reserved2 = 0,
                               .bar_bytes = {0x1000, 0, 0, 0, 0, 0x4000}};
  EXPECT_EQ(words_of(pci_device),
            (Words{0x0000031000000001, 0x10d3808600000002, 0x02000003, 0x1000, 0, 0, 0, 0, 0x4000}));
}

}  // namespace
}  // namespace holdfast::abi
