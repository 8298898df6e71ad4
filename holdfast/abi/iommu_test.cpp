// Golden bytes of every "iommu-liveupdate" record, typed by hand from the layout of series v5 (packed, little endian).
#include "holdfast/abi/iommu.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace holdfast::abi::iommu {
namespace {

template <class Record>
std::vector<unsigned> bytes_of(const Record& record) {
  std::vector<unsigned char> raw(sizeof(Record));
  std::memcpy(raw.data(), &record, sizeof(Record));
  return {raw.begin(), raw.end()};
}
using Bytes = std::vector<unsigned>;

TEST(IommuRecords, FlbIsVersionAndThreeHeads) {
  RecordProperty("acceptance", "C1");
  const IommuFlb flb{.version = 1, .unit_array = 0x1122334455667000, .domain_array = 0x2000, .device_array = 0x3000};
  EXPECT_EQ(bytes_of(flb), (Bytes{1, 0,    0,    0,    0,    0,    0,    0,     //
                                  0, 0x70, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,  //
                                  0, 0x20, 0,    0,    0,    0,    0,    0,     //
                                  0, 0x30, 0,    0,    0,    0,    0,    0}));
  EXPECT_EQ(compatible, "iommu-liveupdate");
  EXPECT_EQ(version_arenas, 1212547073u);
}

TEST(IommuRecords, ArrayHeaderIsNextAndCount) {
  RecordProperty("acceptance", "C1");
  const ArrayHeader header{.next = 0x5000, .nr_objects = 102};
  EXPECT_EQ(bytes_of(header), (Bytes{0, 0x50, 0, 0, 0, 0, 0, 0, 102, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(flag_deleted, 1u);
  EXPECT_EQ(flag_incoming, 2u);
}

TEST(IommuRecords, DomainHasFortyBytes) {
  RecordProperty("acceptance", "C1");
  const Domain domain{.header = {.ref_count = 2, .flags = 1},
                      .top_table_phys = 0x40000,
                      .top_level = 3,
                      .vasz = 48,
                      .sign_extend = 1,
                      .padding = {},
                      .restored_domain = 0};
  EXPECT_EQ(bytes_of(domain), (Bytes{2,  0, 0, 0, 1, 0, 0, 0,  //
                                     0,  0, 4, 0, 0, 0, 0, 0,  //
                                     3,  0, 0, 0, 0, 0, 0, 0,  //
                                     48, 0, 0, 0, 1, 0, 0, 0,  //
                                     0,  0, 0, 0, 0, 0, 0, 0}));
}

TEST(IommuRecords, DeviceHasSeventyTwoBytes) {
  RecordProperty("acceptance", "C1");
  const Device device{.header = {.ref_count = 1, .flags = 2},
                      .devid = 0x0310,
                      .pci_domain_nr = 1,
                      .dma_owner_token = 0x0102030405060708,
                      .domain_iommu = {.attachment_id = 7, .domain_phys = 0x6010, .iommu_phys = 0x7010},
                      .intel = {.restored = 1, .padding = {}, .pasid_table = 0x8000, .max_pasid = 0xfffff}};
  EXPECT_EQ(bytes_of(device), (Bytes{1,    0,    0,    0, 2, 0, 0, 0,  //
                                     0x10, 3,    0,    0, 1, 0, 0, 0,  //
                                     8,    7,    6,    5, 4, 3, 2, 1,  //
                                     7,    0,    0,    0, 0, 0, 0, 0,  //
                                     0x10, 0x60, 0,    0, 0, 0, 0, 0,  //
                                     0x10, 0x70, 0,    0, 0, 0, 0, 0,  //
                                     1,    0,    0,    0, 0, 0, 0, 0,  //
                                     0,    0x80, 0,    0, 0, 0, 0, 0,  //
                                     0xff, 0xff, 0x0f, 0, 0, 0, 0, 0}));
}

TEST(IommuRecords, UnitHasHundredAndTwelveBytes) {
  RecordProperty("acceptance", "C1");
  Unit unit{};
  unit.header = {.ref_count = 3, .flags = 0};
  unit.token = 0xfed90000;
  unit.type = static_cast<u64>(UnitType::Intel);
  unit.intel.restored = 1;
  unit.intel.phys_addr = 0xfed90000;
  unit.intel.root_table = 0x9000;
  unit.intel.context_tables_bitmap = {1, 0, 0, 0, 0, 0, 0, 0x8000000000000000};
  Bytes expected{3, 0,    0,    0,    0, 0, 0, 0,  //
                 0, 0,    0xd9, 0xfe, 0, 0, 0, 0,  //
                 1, 0,    0,    0,    0, 0, 0, 0,  //
                 1, 0,    0,    0,    0, 0, 0, 0,  //
                 0, 0,    0xd9, 0xfe, 0, 0, 0, 0,  //
                 0, 0x90, 0,    0,    0, 0, 0, 0,  //
                 1, 0,    0,    0,    0, 0, 0, 0};
  expected.resize(104, 0);
  for (unsigned byte : {0u, 0u, 0u, 0u, 0u, 0u, 0u, 0x80u}) expected.push_back(byte);
  EXPECT_EQ(bytes_of(unit), expected);
}

}  // namespace
}  // namespace holdfast::abi::iommu
