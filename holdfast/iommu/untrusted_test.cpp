// Every word of every incoming record, damaged: nothing crashes, nothing is followed, and only what the record belongs
// to is quarantined. Each damage once raw, and once with all checksums made right again.
#include <gtest/gtest.h>

#include "holdfast/iommu/test_update.hpp"
#include "holdfast/pt/digest.hpp"
#include "holdfast/pt/vtd_second_stage.hpp"

namespace holdfast::iommu {
namespace {

enum class Checksums : u8 { AsTheyWere, MadeRight };

/// Where the records of the old kernel stand, found as a reader would.
class Records {
 public:
  explicit Records(Update& update) : x_map(update.old.memory().map) {
    flb_at = update.old.flb(abi::iommu::compatible);
    attest_at = update.old.flb(abi::attest::compatible);
    const auto& flb = *x_map.at<abi::iommu::IommuFlb>(flb_at);
    const auto& attest = *x_map.at<abi::attest::Header>(attest_at);
    heads = {PhysAddr(flb.unit_array),    PhysAddr(flb.domain_array),    PhysAddr(flb.device_array),
             PhysAddr(attest.unit_array), PhysAddr(attest.domain_array), PhysAddr(attest.device_array),
             PhysAddr(attest.memfd_array)};
  }
  template <class Record>
  std::span<Record> all(PhysAddr head) const {
    auto* first = x_map.at<Record>(head + sizeof(abi::iommu::ArrayHeader));
    return {first, x_map.at<abi::iommu::ArrayHeader>(head)->nr_objects};
  }
  PhysAddr unit(PhysAddr base) const {
    for (auto& record : all<abi::iommu::Unit>(heads[0]))
      if (record.token == base.value) return x_map.phys(&record);
    return {};
  }
  PhysAddr device(SourceId id) const {
    for (auto& record : all<abi::iommu::Device>(heads[2]))
      if (record.devid == id.value) return x_map.phys(&record);
    return {};
  }
  template <class Attest>
  PhysAddr attest_of(PhysAddr head, PhysAddr record) const {
    for (auto& attest : all<Attest>(head))
      if (attest.record_phys == record.value) return x_map.phys(&attest);
    return {};
  }
  PhysAddr block_list(PhysAddr domain) const {
    return PhysAddr(
        x_map.at<abi::attest::DomainAttest>(attest_of<abi::attest::DomainAttest>(heads[4], domain))->block_list);
  }

  /// Makes every checksum fit what now stands there, as far as the old addresses go.
  void make_right(std::span<const PhysAddr> lists) const {
    auto& header = *x_map.at<abi::attest::Header>(attest_at);
    header.checksum = abi::checksum_of(header);
    for (PhysAddr list : lists) {
      if (list.value == 0) continue;
      auto& page = *x_map.at<abi::attest::BlockListPage>(list);
      page.checksum = abi::checksum_of(page);
    }
    seal<abi::iommu::Unit, abi::attest::UnitAttest>(heads[3]);
    seal<abi::iommu::Domain, abi::attest::DomainAttest>(heads[4]);
    seal<abi::iommu::Device, abi::attest::DeviceAttest>(heads[5]);
  }

  PhysAddr flb_at;
  PhysAddr attest_at;
  std::array<PhysAddr, 7> heads;

 private:
  template <class Record, class Attest>
  void seal(PhysAddr head) const {
    for (Attest& attest : all<Attest>(head).first(std::min<std::size_t>(all<Attest>(head).size(), 8))) {
      const auto record = x_map.find<Record>(PhysAddr(attest.record_phys));
      if (record.ok()) attest.record_checksum = abi::checksum_of_all(**record);
      attest.checksum = abi::checksum_of(attest);
    }
  }
  const DirectMap& x_map;
};

/// What one word becomes. `elsewhere` is the address of another record.
std::vector<u64> damaged(u64 before, const Update& update, PhysAddr free_page, PhysAddr elsewhere) {
  return {0,
          ~u64{0},
          before + page_size_bytes,
          before - page_size_bytes,
          before ^ 1,
          before ^ u64{1} << 32,
          before & ~u64{0xffffffff},
          before | ~u64{0xffffffff},
          before ^ u64{1} << 63,
          u64{0x7fff00000000},
          free_page.value,
          elsewhere.value,
          update.guest.start.value,
          update.own->top().value,
          update.shared->top().value};
}

/// Lives on with what was found: gives everything up, and finishes. Panics are failures of the test.
void live_to_the_end(Update& update) {
  Kernel& kernel = *update.next;
  for (PhysAddr record : {update.own_record, update.shared_record}) EXPECT_TRUE(kernel.core().drop_domain(record).ok());
  for (SourceId id : Update::all()) {
    Device& device = kernel.device(id);
    EXPECT_TRUE(kernel.core().drop_device(device).ok());
    EXPECT_TRUE(update.is_blocked(id));
    Domain& fresh = kernel.new_domain(device);
    EXPECT_TRUE(kernel.core().claim_owner(device, &update).ok());
    EXPECT_TRUE(kernel.core().attach(device, fresh).ok());
  }
  kernel.core().records_flb().finish();
  kernel.core().attest_flb().finish();
  kernel.handover().reclaim_unrestored();
  kernel.handover().release_incoming_map();
}

/// @p victim: where the damage is, chosen once the records stand. @p innocent: devices that must not notice.
void damage_every_word(const std::function<PhysRange(Update&, const Records&)>& victim,
                       const std::vector<SourceId>& innocent, TableMode mode = TableMode::Arena) {
  constexpr u64 ram = u64{16} << 20;
  u64 words = 1;
  u64 variants = 1;
  for (const Checksums checksums : {Checksums::AsTheyWere, Checksums::MadeRight}) {
    for (u64 word = 0; word < words; ++word) {
      for (u64 variant = 0; variant < variants; ++variant) {
        Update update(ram, {.table_mode = mode, .policy = QuarantinePolicy::Quarantine});
        update.jump();
        const Records records(update);
        const PhysRange where = victim(update, records);
        words = where.size_bytes / sizeof(u64);
        const std::array lists{records.block_list(update.own_record), records.block_list(update.shared_record)};
        u64& target = update.old.memory().map.at<u64>(where.start)[word];
        const PhysAddr free_page = *update.old.memory().buddy.allocate(0);
        const auto values = damaged(target, update, free_page, records.device(Update::a));
        variants = values.size();
        if (values[variant] == target) continue;
        target = values[variant];
        if (checksums == Checksums::MadeRight) records.make_right(lists);

        SCOPED_TRACE("word " + std::to_string(word) + " variant " + std::to_string(variant) +
                     (checksums == Checksums::MadeRight ? " repaired" : " raw"));
        Kernel& kernel = update.live();
        for (SourceId id : Update::preserved()) {
          const bool goes_on = update.translates_as_before(id);
          ASSERT_TRUE(goes_on || update.is_blocked(id)) << id.value;
          ASSERT_EQ(goes_on, kernel.device(id).state() == Device::State::Incoming) << id.value;
          ASSERT_EQ(kernel.device(id).state() == Device::State::Quarantined, !kernel.device(id).reason().empty());
        }
        ASSERT_TRUE(update.is_blocked(Update::u));
        for (SourceId id : innocent) ASSERT_TRUE(update.translates_as_before(id)) << id.value;
        ASSERT_NO_FATAL_FAILURE(live_to_the_end(update));
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

const std::vector<SourceId> all_but_c{Update::a, Update::b, Update::d};

TEST(Untrusted, UnitRecord) {
  testing::Test::RecordProperty("acceptance", "C26 C27");
  damage_every_word(
      [](Update& update, const Records& records) {
        return PhysRange{records.unit(update.machine.units[1].base), sizeof(abi::iommu::Unit)};
      },
      {Update::a, Update::b});
}

TEST(Untrusted, DomainRecord) {
  testing::Test::RecordProperty("acceptance", "C26 C27");
  damage_every_word(
      [](Update& update, const Records&) { return PhysRange{update.own_record, sizeof(abi::iommu::Domain)}; },
      all_but_c);
}

TEST(Untrusted, DeviceRecord) {
  testing::Test::RecordProperty("acceptance", "C26 C27");
  damage_every_word(
      [](Update&, const Records& records) { return PhysRange{records.device(Update::c), sizeof(abi::iommu::Device)}; },
      all_but_c);
}

TEST(Untrusted, DomainOfPageMode) {
  testing::Test::RecordProperty("acceptance", "C26");
  damage_every_word(
      [](Update& update, const Records&) { return PhysRange{update.own_record, sizeof(abi::iommu::Domain)}; },
      all_but_c, TableMode::Page);
  damage_every_word(
      [](Update& update, const Records& records) {
        return PhysRange{records.attest_of<abi::attest::DomainAttest>(records.heads[4], update.own_record),
                         sizeof(abi::attest::DomainAttest)};
      },
      all_but_c, TableMode::Page);
}

TEST(Untrusted, UnitAttestation) {
  damage_every_word(
      [](Update& update, const Records& records) {
        return PhysRange{
            records.attest_of<abi::attest::UnitAttest>(records.heads[3], records.unit(update.machine.units[1].base)),
            sizeof(abi::attest::UnitAttest)};
      },
      {Update::a, Update::b});
}

TEST(Untrusted, DomainAttestation) {
  damage_every_word(
      [](Update& update, const Records& records) {
        return PhysRange{records.attest_of<abi::attest::DomainAttest>(records.heads[4], update.own_record),
                         sizeof(abi::attest::DomainAttest)};
      },
      all_but_c);
}

TEST(Untrusted, DeviceAttestation) {
  damage_every_word(
      [](Update&, const Records& records) {
        return PhysRange{records.attest_of<abi::attest::DeviceAttest>(records.heads[5], records.device(Update::c)),
                         sizeof(abi::attest::DeviceAttest)};
      },
      all_but_c);
}

TEST(Untrusted, BlockList) {
  damage_every_word(
      [](Update& update, const Records& records) {
        return PhysRange{records.block_list(update.own_record), 48};  // header and the one block
      },
      all_but_c);
}

TEST(Untrusted, RecordsHeader) {
  testing::Test::RecordProperty("acceptance", "C26");
  damage_every_word(
      [](Update&, const Records& records) { return PhysRange{records.flb_at, sizeof(abi::iommu::IommuFlb)}; }, {});
}

TEST(Untrusted, AttestationHeader) {
  damage_every_word(
      [](Update&, const Records& records) { return PhysRange{records.attest_at, sizeof(abi::attest::Header)}; }, {});
}

TEST(Untrusted, ArrayHeaders) {
  testing::Test::RecordProperty("acceptance", "C26");
  for (std::size_t head = 0; head < 7; ++head)
    damage_every_word(
        [head](Update&, const Records& records) {
          return PhysRange{records.heads[head], sizeof(abi::iommu::ArrayHeader)};
        },
        {});
}

TEST(Untrusted, ChainThatGoesAstrayCostsNoOther) {
  for (std::size_t head = 0; head < 7; ++head) {
    for (std::size_t target = 0; target < 7; ++target) {
      Update update(u64{16} << 20);
      update.jump();
      const Records records(update);
      update.old.memory().map.at<abi::iommu::ArrayHeader>(records.heads[head])->next = records.heads[target].value;
      Kernel& kernel = update.live();
      EXPECT_EQ(kernel.quarantined(), std::vector<std::string>{"a chain of IOMMU records is broken"});
      for (SourceId id : Update::preserved()) EXPECT_TRUE(update.translates_as_before(id));
    }
  }
}

TEST(Untrusted, ForeignBlockInAListIsNotFreed) {
  Update update(u64{16} << 20);
  const PhysAddr memfd_page = *update.old.memory().buddy.allocate(0);
  ASSERT_TRUE(update.old.handover().preserve({memfd_page, 0}).ok());
  update.jump();
  const Records records(update);
  auto& map = update.old.memory().map;
  const PhysAddr list = records.block_list(update.own_record);
  auto& page = *map.at<abi::attest::BlockListPage>(list);
  auto& attest = *map.at<abi::attest::DomainAttest>(
      records.attest_of<abi::attest::DomainAttest>(records.heads[4], update.own_record));
  page.blocks[page.nr_blocks++] = {.phys = memfd_page.value, .order = 0};
  ++attest.block_count;
  records.make_right(std::array{list});
  Kernel& kernel = update.live();
  EXPECT_EQ(kernel.core().find_restored(update.own_record).code(), Code::Corrupt);
  EXPECT_TRUE(update.is_blocked(Update::c));
  EXPECT_TRUE(kernel.core().drop_domain(update.own_record).ok());
  EXPECT_TRUE(kernel.handover().is_incoming({memfd_page, 0}));
}

TEST(Untrusted, AttestationThatNamesAnothersRecordCostsItsOwn) {
  for (Checksums checksums : {Checksums::AsTheyWere, Checksums::MadeRight}) {
    Update update(u64{16} << 20);
    update.jump();
    const Records records(update);
    const PhysAddr at = records.attest_of<abi::attest::DeviceAttest>(records.heads[5], records.device(Update::a));
    auto& attest = *update.old.memory().map.at<abi::attest::DeviceAttest>(at);
    attest.record_phys = records.device(Update::c).value;
    if (checksums == Checksums::MadeRight) attest.checksum = abi::checksum_of(attest);
    update.live();
    EXPECT_TRUE(update.is_blocked(Update::a));
    for (SourceId id : {Update::b, Update::c, Update::d}) EXPECT_TRUE(update.translates_as_before(id));
  }
}

/// The word that maps page @p index of the guest's memory in the lowest table of @p domain.
struct LeafWord {
  PhysAddr table;
  u64* words = nullptr;
  u64* leaf = nullptr;
};
LeafWord find_leaf(Update& update, const Domain& domain, u64 index) {
  const DirectMap& map = update.old.memory().map;
  const auto is_used = [](u64 word) { return word != 0; };
  PhysAddr table = domain.top();
  for (unsigned level = domain.config().levels - 1u; level != 0; --level) {
    const u64* words = map.at<u64>(table);
    table = PhysAddr(*std::find_if(words, words + 512, is_used) & ~u64{0xfff});
  }
  u64* words = map.at<u64>(table);
  return {table, words, std::find_if(words, words + 512, is_used) + index};
}

/// @p to becomes what the leaf maps; the checksums are right.
void redirect(const LeafWord& at, PhysAddr to, abi::attest::DomainAttest& attest) {
  attest.checksum_root -= pt::table_digest<pt::VtdSecondStage>(at.table, 0, {at.words, 512});
  *at.leaf = to.value | 3;
  attest.checksum_root += pt::table_digest<pt::VtdSecondStage>(at.table, 0, {at.words, 512});
  attest.checksum = abi::checksum_of(attest);
}

// The one domain that is left has nobody's tables to fear, but pages of one that failed after it was looked at.
TEST(Untrusted, LeafThatLeadsToTheBlockListOfADomainThatFailedIsRefused) {
  Update update(u64{16} << 20);
  update.jump();
  const Records records(update);
  const DirectMap& map = update.old.memory().map;
  const auto attest_of = [&](PhysAddr record) {
    return map.at<abi::attest::DomainAttest>(records.attest_of<abi::attest::DomainAttest>(records.heads[4], record));
  };
  const PhysAddr list(attest_of(update.own_record)->block_list);
  map.at<abi::attest::BlockListPage>(list)->checksum ^= 1;
  redirect(find_leaf(update, *update.shared, 0), list, *attest_of(update.shared_record));
  Kernel& kernel = update.live();
  for (PhysAddr record : {update.shared_record, update.own_record})
    EXPECT_EQ(kernel.core().find_restored(record).code(), Code::Corrupt);
  for (SourceId id : Update::preserved()) EXPECT_TRUE(update.is_blocked(id));
}

TEST(Untrusted, LeafThatLeadsToTablesVerifiedLaterIsRefused) {
  const u64 pages = Update().guest.size_bytes / page_size_bytes;
  for (u64 index = 0; index < pages; ++index) {
    SCOPED_TRACE(index);
    Update update(u64{16} << 20);
    update.jump();
    const Records records(update);
    auto& attest = *update.old.memory().map.at<abi::attest::DomainAttest>(
        records.attest_of<abi::attest::DomainAttest>(records.heads[4], update.shared_record));
    redirect(find_leaf(update, *update.shared, index), update.own->top(), attest);
    Kernel& kernel = update.live();
    EXPECT_EQ(kernel.core().find_restored(update.shared_record).code(), Code::Corrupt);
    EXPECT_TRUE(kernel.core().find_restored(update.own_record).ok());
    EXPECT_TRUE(update.translates_as_before(Update::c));
    for (SourceId id : {Update::a, Update::b, Update::d}) EXPECT_TRUE(update.is_blocked(id));
  }
}

TEST(Untrusted, BlockOfAnotherDomainCostsTheOneThatLies) {
  Update update(u64{16} << 20);
  update.jump();
  const Records records(update);
  auto& map = update.old.memory().map;
  const PhysAddr own_list = records.block_list(update.own_record);
  auto& own = *map.at<abi::attest::BlockListPage>(own_list);
  const auto& shared = *map.at<abi::attest::BlockListPage>(records.block_list(update.shared_record));
  auto& attest = *map.at<abi::attest::DomainAttest>(
      records.attest_of<abi::attest::DomainAttest>(records.heads[4], update.own_record));
  own.blocks[own.nr_blocks++] = shared.blocks[0];
  ++attest.block_count;
  records.make_right(std::array{own_list});
  Kernel& kernel = update.live();
  EXPECT_EQ(kernel.core().find_restored(update.own_record).code(), Code::Corrupt);
  EXPECT_TRUE(kernel.core().find_restored(update.shared_record).ok());
  for (SourceId id : all_but_c) EXPECT_TRUE(update.translates_as_before(id));
}

}  // namespace
}  // namespace holdfast::iommu
