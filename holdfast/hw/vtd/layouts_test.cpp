// Golden values typed by hand from the manual's figures; nothing here is computed from the declarations.
#include <gtest/gtest.h>

#include "holdfast/hw/vtd/descriptors.hpp"
#include "holdfast/hw/vtd/entries.hpp"
#include "holdfast/hw/vtd/faults.hpp"
#include "holdfast/hw/vtd/registers.hpp"

namespace holdfast::hw::vtd {
namespace {

TEST(VtdRegisters, StandWhereTheManualPutsThem) {
  static_assert(ver_offset == 0x00 && cap_offset == 0x08 && ecap_offset == 0x10 && gcmd_offset == 0x18);
  static_assert(gsts_offset == 0x1c && rtaddr_offset == 0x20 && ccmd_offset == 0x28 && fsts_offset == 0x34);
  static_assert(fectl_offset == 0x38 && fedata_offset == 0x3c && feaddr_offset == 0x40 && feuaddr_offset == 0x44);
  static_assert(pmen_offset == 0x64 && iqh_offset == 0x80 && iqt_offset == 0x88 && iqa_offset == 0x90);
  static_assert(ics_offset == 0x9c && iectl_offset == 0xa0 && iqer_offset == 0xb0 && irta_offset == 0xb8);
}

TEST(VtdRegisters, DecodeTheCapabilitiesOfAKnownUnit) {
  // CAP and ECAP of QEMU's unit with aw-bits=48 and x-scalable-mode=on.
  const Cap cap_value(0x00d2008c222f0606u);
  EXPECT_EQ(cap_value.get<cap::Nd>(), 6u);
  EXPECT_EQ(cap_value.get<cap::Sagaw>(), 6u);
  EXPECT_EQ(cap_value.get<cap::Mgaw>(), 47u);
  EXPECT_EQ(cap_value.get<cap::Fro>(), 0x22u);
  EXPECT_EQ(cap_value.get<cap::Sllps>(), 3u);
  EXPECT_EQ(cap_value.get<cap::Nfr>(), 0u);
  EXPECT_EQ(cap_value.get<cap::Mamv>(), 18u);
  EXPECT_EQ(cap_value.get<cap::Psi>(), 1u);
  EXPECT_EQ(cap_value.get<cap::Cm>(), 0u);
  EXPECT_EQ(cap_value.get<cap::Dwd>() + cap_value.get<cap::Drd>(), 2u);
  const Ecap ecap_value(0x0000480080f00f4au);
  EXPECT_EQ(ecap_value.get<ecap::C>(), 0u);
  EXPECT_EQ(ecap_value.get<ecap::Qi>(), 1u);
  EXPECT_EQ(ecap_value.get<ecap::Ir>(), 1u);
  EXPECT_EQ(ecap_value.get<ecap::Pt>(), 1u);
  EXPECT_EQ(ecap_value.get<ecap::Iro>(), 0xfu);
  EXPECT_EQ(ecap_value.get<ecap::Smts>(), 1u);
  EXPECT_EQ(ecap_value.get<ecap::Ssts>(), 1u);
  EXPECT_EQ(ecap_value.get<ecap::Fsts>(), 0u);
}

TEST(VtdRegisters, HoldTheirFieldsWhereTheManualPutsThem) {
  EXPECT_EQ(Gcmd().with<gcmd::Te>(1).with<gcmd::Srtp>(1).with<gcmd::Qie>(1).raw(), 0xc4000000u);
  EXPECT_EQ(Gsts(0x84000000u).get<gsts::Tes>() + Gsts(0x84000000u).get<gsts::Qies>(), 2u);
  EXPECT_EQ(Rtaddr().with<rtaddr::Rta>(0x12345).with<rtaddr::Ttm>(1).raw(), 0x12345400u);
  EXPECT_EQ(Ccmd().with<ccmd::Icc>(1).with<ccmd::Cirg>(1).raw(), 0xa000000000000000u);
  EXPECT_EQ(IotlbInvalidate().with<iotlb::Ivt>(1).with<iotlb::Iirg>(2).with<iotlb::Did>(0x77).raw(),
            0xa000007700000000u);
  EXPECT_EQ(Iqa().with<iqa::Iqa>(0x800).with<iqa::Dw>(1).with<iqa::Qs>(1).raw(), 0x800801u);
  EXPECT_EQ(Iqt().with<iqt::Qt>(2).raw(), 0x20u);
  EXPECT_EQ(Fsts(0x0312u).get<fsts::Fri>(), 3u);
  EXPECT_EQ(Fsts().with<fsts::Iqe>(1).with<fsts::Ppf>(1).raw(), 0x12u);
  static_assert(gcmd_sticky_mask == 0x96ffffffu);
}

TEST(VtdEntries, RootEntry) {
  const RootEntry entry = RootEntry().with<root_entry::Ctp>(0xabcde).with<root_entry::P>(1);
  EXPECT_EQ(entry.words()[0], 0xabcde001u);
  EXPECT_EQ(RootEntry::reserved_bits(0), 0xffeu);
  EXPECT_EQ(RootEntry::reserved_bits(1), ~u64{0});
  const ScalableRootEntry scalable = ScalableRootEntry()
                                         .with<scalable_root_entry::Uctp>(2)
                                         .with<scalable_root_entry::Up>(1)
                                         .with<scalable_root_entry::Lctp>(1)
                                         .with<scalable_root_entry::Lp>(1);
  EXPECT_EQ(scalable.words()[0], 0x1001u);
  EXPECT_EQ(scalable.words()[1], 0x2001u);
}

TEST(VtdEntries, ContextEntry) {
  const ContextEntry entry = ContextEntry()
                                 .with<context_entry::Did>(0x1234)
                                 .with<context_entry::Aw>(2)
                                 .with<context_entry::Ssptptr>(0x55)
                                 .with<context_entry::Tt>(2)
                                 .with<context_entry::P>(1);
  EXPECT_EQ(entry.words()[0], 0x55009u);
  EXPECT_EQ(entry.words()[1], 0x123402u);
  EXPECT_EQ(ContextEntry::reserved_bits(0), 0xff0u);
  EXPECT_EQ(ContextEntry::reserved_bits(1), 0xffffffffff000080u);
}

TEST(VtdEntries, ScalableContextEntry) {
  const ScalableContextEntry entry = ScalableContextEntry()
                                         .with<scalable_context_entry::RidPasid>(0x41)
                                         .with<scalable_context_entry::PasidDirPtr>(0x33)
                                         .with<scalable_context_entry::Pdts>(7)
                                         .with<scalable_context_entry::P>(1);
  EXPECT_EQ(entry.words()[0], 0x33e01u);
  EXPECT_EQ(entry.words()[1], 0x41u);
  EXPECT_EQ(ScalableContextEntry::reserved_bits(0), 0x1e0u);
  EXPECT_EQ(ScalableContextEntry::reserved_bits(1), 0xffffffffffe00000u);
  EXPECT_EQ(ScalableContextEntry::reserved_bits(2) & ScalableContextEntry::reserved_bits(3), ~u64{0});
}

TEST(VtdEntries, PasidEntries) {
  EXPECT_EQ(PasidDirectoryEntry().with<pasid_directory_entry::SmptblPtr>(0x7).with<pasid_directory_entry::P>(1).raw(),
            0x7001u);
  const PasidEntry entry = PasidEntry()
                               .with<pasid_entry::Ssptptr>(0x99)
                               .with<pasid_entry::Did>(0xbeef)
                               .with<pasid_entry::Pwsnp>(1)
                               .with<pasid_entry::Pgtt>(2)
                               .with<pasid_entry::Aw>(2)
                               .with<pasid_entry::P>(1);
  EXPECT_EQ(entry.words()[0], 0x99089u);
  EXPECT_EQ(entry.words()[1], 0x80beefu);
  EXPECT_EQ(PasidEntry::reserved_bits(0), 0xc00u);
  EXPECT_EQ(PasidEntry::reserved_bits(1), 0x7f0000u);
  EXPECT_EQ(PasidEntry::reserved_bits(2), 0xf00u);
  for (unsigned word = 3; word < 8; ++word) EXPECT_EQ(PasidEntry::reserved_bits(word), ~u64{0});
}

TEST(VtdDescriptors, StandAsTheManualPrintsThem) {
  const auto context = ContextCacheDescriptor()
                           .with<context_cache_descriptor::Sid>(0x0108)
                           .with<context_cache_descriptor::Did>(0x22)
                           .with<context_cache_descriptor::G>(3)
                           .with<context_cache_descriptor::Type>(1);
  EXPECT_EQ(context.words()[0], 0x0000010800220031u);
  EXPECT_EQ(ContextCacheDescriptor::reserved_bits(0), 0xfffc00000000ffc0u);
  const auto iotlb = IotlbDescriptor()
                         .with<iotlb_descriptor::Addr>(0x40)
                         .with<iotlb_descriptor::Ih>(1)
                         .with<iotlb_descriptor::Am>(9)
                         .with<iotlb_descriptor::Did>(0x33)
                         .with<iotlb_descriptor::Dr>(1)
                         .with<iotlb_descriptor::Dw>(1)
                         .with<iotlb_descriptor::G>(3)
                         .with<iotlb_descriptor::Type>(2);
  EXPECT_EQ(iotlb.words()[0], 0x3300f2u);
  EXPECT_EQ(iotlb.words()[1], 0x40049u);
  EXPECT_EQ(IotlbDescriptor::reserved_bits(0), 0xffffffff0000ff00u);
  EXPECT_EQ(IotlbDescriptor::reserved_bits(1), 0xf80u);
  const auto wait = WaitDescriptor()
                        .with<wait_descriptor::StatusAddr>(0x1004 >> 2)
                        .with<wait_descriptor::StatusData>(2)
                        .with<wait_descriptor::Sw>(1)
                        .with<wait_descriptor::Type>(5);
  EXPECT_EQ(wait.words()[0], 0x200000025u);
  EXPECT_EQ(wait.words()[1], 0x1004u);
  const auto pasid = PasidCacheDescriptor()
                         .with<pasid_cache_descriptor::Pasid>(0x41)
                         .with<pasid_cache_descriptor::Did>(5)
                         .with<pasid_cache_descriptor::G>(1)
                         .with<pasid_cache_descriptor::Type>(7);
  EXPECT_EQ(pasid.words()[0], 0x0000004100050017u);
  const auto pasid_iotlb = PasidIotlbDescriptor()
                               .with<pasid_iotlb_descriptor::Addr>(0x40)
                               .with<pasid_iotlb_descriptor::Ih>(1)
                               .with<pasid_iotlb_descriptor::Am>(9)
                               .with<pasid_iotlb_descriptor::Pasid>(0x41)
                               .with<pasid_iotlb_descriptor::Did>(5)
                               .with<pasid_iotlb_descriptor::G>(3)
                               .with<pasid_iotlb_descriptor::Type>(6);
  EXPECT_EQ(pasid_iotlb.words()[0], 0x0000004100050036u);
  EXPECT_EQ(pasid_iotlb.words()[1], 0x40049u);
  EXPECT_EQ(PasidIotlbDescriptor::reserved_bits(0), 0xfff000000000ffc0u);
  EXPECT_EQ(PasidIotlbDescriptor::reserved_bits(1), 0xf80u);
}

TEST(VtdFaults, RecordFields) {
  const FaultRecord record(FaultRecord::Words{0x0000000123456000u, 0xc000000500000108u});
  EXPECT_EQ(record.get<fault_record::F>(), 1u);
  EXPECT_EQ(record.get<fault_record::T1>(), 1u);
  EXPECT_EQ(record.get<fault_record::Fr>(), 5u);
  EXPECT_EQ(record.get<fault_record::Sid>(), 0x108u);
  EXPECT_EQ(record.get<fault_record::Fi>(), 0x123456u);
  EXPECT_FALSE(is_qualified(FaultReason::RootNotPresent));
  EXPECT_TRUE(is_qualified(FaultReason::WriteNotPermitted));
}

}  // namespace
}  // namespace holdfast::hw::vtd
