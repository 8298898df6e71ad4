// Hardware fetches each 16-byte piece of an entry at a moment of its own. The tests take a picture of the entry at
// every step of a change and put pieces of all pictures together in every possible way.
#include "holdfast/vtd/entry_writer.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "holdfast/memory/test_world.hpp"
#include "holdfast/vtd/entry_format.hpp"

namespace holdfast::vtd {
namespace {

using Entry = std::array<Quad, 4>;

class Recorder {
 public:
  Recorder() {
    world.on_step = [this] { pictures.push_back(entry); };
  }
  /// Every entry that a fetch in pieces, each at any moment so far, may have put together.
  template <class Check>
  void for_each_fetch(Check check) const {
    Entry fetched;
    for (const Entry& a : pictures)
      for (const Entry& b : pictures)
        for (const Entry& c : pictures)
          for (const Entry& d : pictures) {
            fetched = {a[0], b[1], c[2], d[3]};
            check(fetched);
          }
  }

  TestWorld world{u64{4} << 20};
  EntryWriter writer{world, EntryWriter::Walk::NonCoherent};
  Entry entry{};
  std::vector<Entry> pictures;
};

bool is_present(const Entry& entry) { return (entry[0].lo & 1) != 0; }

const Entry first{encode_pasid_entry({PhysAddr(0x111000), 4, DomainId(5)}, PageWalk::Coherent)};
const Entry second{encode_pasid_entry({PhysAddr(0x222000), 3, DomainId(6)}, PageWalk::Coherent)};

TEST(EntryWriter, AnInstalledEntryIsNeverSeenInParts) {
  RecordProperty("acceptance", "N1");
  Recorder host;
  host.entry[0] = {0xdead0000, 0xbeef};  // not present: what stands there means nothing
  host.writer.install(host.entry, first);
  EXPECT_EQ(host.entry, first);
  EXPECT_GE(host.pictures.size(), 8u);
  host.for_each_fetch([](const Entry& fetched) { EXPECT_TRUE(!is_present(fetched) || fetched == first); });
}

TEST(EntryWriter, AReplacedEntryIsOldOrNewAtEveryStep) {
  RecordProperty("acceptance", "N1 N4");
  Recorder host;
  host.entry = first;
  host.writer.replace(host.entry[0], second[0]);
  EXPECT_EQ(host.entry, second);
  ASSERT_EQ(host.pictures.size(), 2u);  // one store, seen before and after
  host.for_each_fetch([](const Entry& fetched) { EXPECT_TRUE(fetched == first || fetched == second); });
}

TEST(EntryWriter, AnEntryIsClearedPresentBitFirst) {
  RecordProperty("acceptance", "IV11 N1");
  Recorder host;
  host.entry = first;
  host.writer.clear_present(host.entry);
  ASSERT_EQ(host.pictures.size(), 2u);
  EXPECT_FALSE(is_present(host.entry));
  EXPECT_EQ(host.entry[0].lo, first[0].lo & ~u64{1});
  EXPECT_EQ(host.entry[0].hi, first[0].hi);
  host.writer.clear_rest(host.entry);
  EXPECT_EQ(host.entry, Entry{});
  host.for_each_fetch([](const Entry& fetched) { EXPECT_TRUE(!is_present(fetched) || fetched == first); });
}

TEST(EntryWriterDeathTest, RefusesToTearAPresentEntry) {
  Recorder host;
  host.entry = first;
  EXPECT_DEATH(host.writer.install(host.entry, second), "");
  EXPECT_DEATH(host.writer.clear_rest(host.entry), "");
}

}  // namespace
}  // namespace holdfast::vtd
