// Threads on one table: Sharing::Shared with disjoint ranges whose tables are shared, and Sharing::Exclusive with
// readers beside the one who writes. Runs under ThreadSanitizer as well.
//
// A device walks after each operation, by raw numbers, from the top that it was told and, where tables are not
// coherent, through memory that holds only what was flushed: what a thread was promised must be there, whoever wrote
// the tables above it.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>

#include "holdfast/pt/engine_create.hpp"
#include "holdfast/pt/test_formats.hpp"
#include "holdfast/pt/test_support.hpp"

namespace holdfast::pt {
namespace {

using namespace std::chrono_literals;

/// Nothing in it is counted, so that threads may use it at once; flush_cache() copies to what memory holds.
class ThreadWorld final : public TestWorld {
 public:
  explicit ThreadWorld(u64 ram_bytes)
      : TestWorld(ram_bytes), x_flushed(static_cast<u64*>(std::calloc(ram_bytes, 1)), &std::free) {}

  /// Other threads run between any two stores, and while tables are taken for what has been planned.
  bool may_allocate() override { return std::this_thread::yield(), true; }
  void step() override {
    thread_local unsigned steps = 0;
    if (++steps % 13 == 0) std::this_thread::yield();
  }
  void flush_cache(const void* start, std::size_t size_bytes) override {
    const std::lock_guard guard(x_line);  // a line is written back by one CPU at a time, with what it holds then
    const auto* from = static_cast<const u64*>(start);
    const std::size_t first = static_cast<std::size_t>(from - reinterpret_cast<const u64*>(direct_map()));
    for (std::size_t i = 0; i < size_bytes / sizeof(u64); ++i)
      __atomic_store_n(&x_flushed.get()[first + i], __atomic_load_n(&from[i], __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
  }
  enum class View : u8 { Cached, Flushed };
  [[nodiscard]] u64 load(View view, u64 address) const {
    const u64* base = view == View::Flushed ? x_flushed.get() : reinterpret_cast<const u64*>(direct_map());
    return __atomic_load_n(base + address / sizeof(u64), __ATOMIC_ACQUIRE);
  }

 private:
  std::unique_ptr<u64, void (*)(void*)> x_flushed;
  std::mutex x_line;
};

using View = ThreadWorld::View;

struct Kind {
  const char* name;
  TableConfig config;
  unsigned index_bits;
  u64 stripe_pages;  // neighbouring stripes belong to different threads
  u64 stripes;
  Result<Table*> (*create)(Memory&, const TableConfig&, TopObserver*);
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

/// Hardware: what it was told, and how it walks tables with the bits of VT-d's second stage.
class Device final : public TopObserver {
 public:
  Device(const ThreadWorld& world, const Kind& kind) : x_world(world), x_kind(kind) {}

  void begin(const Table& table) { tell(table.top(), table.levels()); }
  void top_changed(PhysAddr top, unsigned levels) override {
    EXPECT_GT(levels, x_top.load() & 7) << "the top shrinks";
    tell(top, levels);
  }
  /// Address of the top, and its levels.
  [[nodiscard]] u64 told() const { return x_top.load(); }
  /// Page address and permissions, where the walk does not fault.
  [[nodiscard]] std::optional<u64> walk(View view, u64 page) const {
    const u64 item = item_of(view, page).second;
    if (item == 0) return std::nullopt;
    const unsigned level = level_of(view, page);
    const u64 inside = page & ((u64{1} << x_kind.index_bits * level) - 1);
    return ((item & 0x000f'ffff'ffff'f000) + (inside << 12)) | (item & 3);
  }
  /// A device writes there: hardware marks the leaf.
  void write(u64 page) const {
    const u64 slot = item_of(View::Cached, page).first;
    __atomic_fetch_or(reinterpret_cast<u64*>(x_world.direct_map() + slot), u64{1} << 9, __ATOMIC_ACQ_REL);
  }

 private:
  void tell(PhysAddr top, unsigned levels) { x_top.store(top.value | levels, std::memory_order_release); }
  [[nodiscard]] unsigned level_of(View view, u64 page) const {
    unsigned level = 0;
    (void)item_of(view, page, &level);
    return level;
  }
  /// The last item of the walk and its address; 0 where it faults.
  std::pair<u64, u64> item_of(View view, u64 page, unsigned* at = nullptr) const {
    const u64 top = x_top.load(std::memory_order_acquire);
    const unsigned levels = top & 7;
    u64 table = top & ~u64{7};
    if (page >> x_kind.index_bits * levels != 0) return {0, 0};
    for (unsigned level = levels - 1;; --level) {
      const u64 slot = table + (page >> x_kind.index_bits * level & ((u64{1} << x_kind.index_bits) - 1)) * 8;
      const u64 item = x_world.load(view, slot);
      if (at != nullptr) *at = level;
      if ((item & 3) == 0) return {slot, 0};
      if (level == 0 || (item & 0x80) != 0) return {slot, item};
      table = item & 0x000f'ffff'ffff'f000;
    }
  }

  const ThreadWorld& x_world;
  const Kind& x_kind;
  std::atomic<u64> x_top{0};
};

struct Extent {
  u64 page;
  u64 count;
  u64 target;  // page number
  Prot prot;
};

/// One thread: its stripes of the table, and what is mapped there.
class Owner {
 public:
  Owner(Table& table, Device& device, const Kind& kind, unsigned number, unsigned of, u64 seed)
      : x_table(table), x_device(device), x_kind(kind), x_number(number), x_of(of), x_random(seed) {}

  void operate() {
    switch (x_random() % 8) {
      case 0:
      case 1:
      case 2: return map();
      case 3: return unmap();
      case 4: return cut_and_unmap();
      case 5: return read_dirty();
      default: return look();
    }
  }
  [[nodiscard]] const PageModel& model() const { return x_model; }

 private:
  void map() {
    const u64 stripe = x_number + x_of * (x_random() % (x_kind.stripes / x_of));
    const u64 begin = stripe * x_kind.stripe_pages;
    const u64 from = x_random() % 3 == 0 ? 0 : x_random() % x_kind.stripe_pages;
    Extent extent{begin + from, 1 + x_random() % (x_kind.stripe_pages - from), 0, Prot::ReadWrite};
    if (x_random() % 4 == 0) extent.prot = Prot::Read;
    extent.target = (x_random() & 0xf'0000) + (x_random() % 2 == 0 ? extent.page : x_random() % 0x1'0000);
    const PhysRange run{PhysAddr(extent.target << 12), extent.count << 12};
    const auto used = x_model.lower_bound(extent.page);
    const bool collides = used != x_model.end() && used->first < extent.page + extent.count;
    Iova collision(1);
    ASSERT_EQ(map_now(x_table, Iova(extent.page << 12), {&run, 1}, extent.prot, &collision).code(),
              collides ? Code::AddressInUse : Code::Ok);
    ASSERT_EQ(collision.value, collides ? used->first << 12 : 1);
    if (collides) return;
    for (u64 i = 0; i < extent.count; ++i)
      x_model[extent.page + i] = (extent.target + i) << 12 | static_cast<u64>(extent.prot);
    x_extents.push_back(extent);
    hardware_finds(extent.page);
    hardware_finds(extent.page + extent.count - 1);
  }
  void forget(const Extent& extent) {
    for (u64 i = 0; i < extent.count; ++i) x_model.erase(extent.page + i);
    hardware_finds(extent.page);
    hardware_finds(extent.page + extent.count - 1);
  }
  Extent* some() { return x_extents.empty() ? nullptr : &x_extents[x_random() % x_extents.size()]; }
  void unmap() {
    Extent* extent = some();
    if (extent == nullptr) return;
    ASSERT_EQ(unmap_now(x_table, extent->page << 12, extent->count << 12).value(), extent->count << 12);
    const Extent gone = std::exchange(*extent, x_extents.back());
    x_extents.pop_back();
    forget(gone);
  }
  void cut_and_unmap() {
    Extent* extent = some();
    if (extent == nullptr || extent->count == 1) return;
    const u64 first = 1 + x_random() % (extent->count - 1);
    Gather gather;
    ASSERT_TRUE(x_table.cut(Iova((extent->page + first) << 12), gather).ok());
    gather.complete(x_table);
    hardware_finds(extent->page + first);
    ASSERT_EQ(unmap_now(x_table, extent->page << 12, first << 12).value(), first << 12);
    const Extent gone{extent->page, first, 0, Prot::None};
    *extent = {extent->page + first, extent->count - first, extent->target + first, extent->prot};
    forget(gone);
    hardware_finds(extent->page);
  }
  void read_dirty() {
    Extent* extent = some();
    if (extent == nullptr) return;
    const u64 page = extent->page + x_random() % extent->count;
    if (x_kind.config.coherent) x_device.write(page);
    std::vector<u64> words(extent->count / 64 + 1);
    const DirtyBitmap bitmap{Iova(extent->page << 12), 12, words};
    const auto how = static_cast<DirtyRead>(x_random() % 3);
    Gather gather;
    ASSERT_TRUE(x_table.read_dirty({Iova(extent->page << 12), extent->count << 12}, how, &bitmap, gather).ok());
    gather.complete(x_table);
    const u64 bit = page - extent->page;
    if (x_kind.config.coherent) {
      ASSERT_NE(words[bit / 64] >> bit % 64 & 1, 0u);
    }
  }
  void look() {
    std::vector<Iova> iovas;
    for (int i = 0; i < 40; ++i) {
      const u64 stripe = x_number + x_of * (x_random() % (x_kind.stripes / x_of));
      iovas.emplace_back((stripe * x_kind.stripe_pages + x_random() % x_kind.stripe_pages) << 12);
    }
    std::vector<Translation> found(iovas.size());
    x_table.lookup(iovas, found);
    for (std::size_t i = 0; i < iovas.size(); ++i) {
      const auto wanted = x_model.find(iovas[i].value >> 12);
      const auto one = x_table.lookup(iovas[i]);
      ASSERT_EQ(found[i].page_size != 0, wanted != x_model.end());
      ASSERT_EQ(one.ok(), wanted != x_model.end());
      if (!one.ok()) continue;
      ASSERT_EQ(found[i], *one);
      ASSERT_EQ(one->address.value | static_cast<u64>(one->prot), wanted->second);
      hardware_finds(iovas[i].value >> 12);
    }
  }
  void hardware_finds(u64 page) {
    const auto wanted = x_model.find(page);
    const auto expected = wanted == x_model.end() ? std::nullopt : std::optional(wanted->second);
    ASSERT_EQ(x_device.walk(View::Cached, page), expected);
    if (!x_kind.config.coherent) {
      ASSERT_EQ(x_device.walk(View::Flushed, page), expected) << "relied on what was not flushed";
    }
  }

  Table& x_table;
  Device& x_device;
  const Kind& x_kind;
  unsigned x_number;
  unsigned x_of;
  std::mt19937_64 x_random;
  PageModel x_model;
  std::vector<Extent> x_extents;
};

constexpr unsigned threads = 4;
constexpr u64 ram_bytes = u64{32} << 20;

class SharedTable : public testing::TestWithParam<Kind> {
 protected:
  /// A new table, all threads on it at once for @p operations each; then it is what they all say together.
  void round(int operations, u64 seed) {
    const auto free_before = memory.buddy.free_blocks();
    Device device(world, GetParam());
    Table& table = **GetParam().create(memory, GetParam().config, &device);
    device.begin(table);
    std::vector<std::unique_ptr<Owner>> owners;
    for (unsigned i = 0; i < threads; ++i)
      owners.push_back(std::make_unique<Owner>(table, device, GetParam(), i, threads, seed * threads + i));
    std::atomic<unsigned> waiting{threads};
    {
      std::vector<std::jthread> running;
      for (const auto& owner : owners)
        running.emplace_back([&waiting, &owner, operations] {
          for (--waiting; waiting != 0;) std::this_thread::yield();
          for (int i = 0; i < operations && !testing::Test::HasFatalFailure(); ++i) owner->operate();
        });
    }
    PageModel all;
    for (const auto& owner : owners) all.insert(owner->model().begin(), owner->model().end());
    EXPECT_TRUE(model_of(table) == all);
    for (const auto& [page, target] : all) ASSERT_EQ(device.walk(View::Cached, page), target);
    u64 tables = 0;
    table.collect([&](PhysAddr, unsigned) { ++tables; });
    EXPECT_EQ(tables, table.table_count());
    EXPECT_EQ(table.arena().tables(), table.table_count());
    EXPECT_EQ(device.told(), table.top().value | table.levels());
    Table::destroy(&table);
    EXPECT_EQ(memory.buddy.free_blocks(), free_before);
  }

  ThreadWorld world{ram_bytes};
  TestMemory host{world};
  Memory& memory = host.memory;
};

TEST_P(SharedTable, ThreadsWithDisjointRangesEachFindWhatTheyMapped) {
  const auto end = std::chrono::steady_clock::now() + 300ms;
  for (u64 seed = 1; std::chrono::steady_clock::now() < end && !HasFailure(); ++seed) round(400, seed);
}

TEST_P(SharedTable, ThreadsRaceForTheSameNewTablesAndForTheTop) {
  const auto end = std::chrono::steady_clock::now() + 300ms;
  for (u64 seed = 1000; std::chrono::steady_clock::now() < end && !HasFailure(); ++seed) round(3, seed);
}

constexpr u64 vtd_sizes = u64{1} << 12 | u64{1} << 21;
constexpr u64 tiny_sizes = u64{1} << 12 | u64{1} << 14 | u64{1} << 16;
constexpr TableConfig vtd(bool coherent, TableMode mode) {
  return {.levels = 3,
          .iova_bits = 39,
          .page_sizes = vtd_sizes,
          .coherent = coherent,
          .mode = mode,
          .sharing = Sharing::Shared};
}
constexpr TableConfig tiny(bool coherent, TableMode mode) {
  return {.format = TinyFormat::format,
          .levels = 2,
          .iova_bits = 24,
          .page_sizes = tiny_sizes,
          .coherent = coherent,
          .mode = mode,
          .dynamic_top = true,
          .sharing = Sharing::Shared};
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, SharedTable,
    testing::Values(Kind{"VtdArena", vtd(true, TableMode::Arena), 9, 1200, 16, &Table::create},
                    Kind{"VtdIncoherentPages", vtd(false, TableMode::Page), 9, 1200, 16, &Table::create},
                    Kind{"TinyGrowingPages", tiny(true, TableMode::Page), 2, 37, 108, &create_table<TinyFormat>},
                    Kind{"TinyGrowingIncoherentArena", tiny(false, TableMode::Arena), 2, 37, 108,
                         &create_table<TinyFormat>}),
    [](const auto& kind) { return kind.param.name; });

/// One writer and several readers of what it does not change, without any lock.
void read_beside_a_writer(Table& table, u64 constant_pages, u64 least_changes,
                          const std::function<void(std::mt19937_64&)>& change) {
  std::vector<Iova> iovas;
  for (u64 i = 0; i < constant_pages; ++i) {
    ASSERT_TRUE(map_now(table, i * 3 << 12, (0x100 + i) << 12, 0x1000).ok());
    iovas.emplace_back(i * 3 << 12);
  }
  std::atomic<bool> done{false};
  std::atomic<u64> wrong{0};
  std::atomic<u64> looked{0};
  {
    std::vector<std::jthread> readers;
    for (int i = 0; i < 3; ++i)
      readers.emplace_back([&] {
        std::vector<Translation> found(iovas.size());
        while (!done) {
          table.lookup(iovas, found);
          for (u64 k = 0; k < iovas.size(); ++k) {
            const auto one = table.lookup(iovas[k]);
            if (!one.ok() || one->address != PhysAddr((0x100 + k) << 12) || found[k] != *one) ++wrong;
          }
          ++looked;
        }
      });
    std::mt19937_64 random{11};
    const auto end = std::chrono::steady_clock::now() + 250ms;
    for (u64 n = 0; n < least_changes || looked == 0 || std::chrono::steady_clock::now() < end; ++n) change(random);
    done = true;
  }
  EXPECT_EQ(wrong, 0u);
}

TEST(ExclusiveTable, ReadersOfWhatIsNotChangedNeedNoLock) {
  ThreadWorld world(ram_bytes);
  TestMemory host(world);
  TableConfig config = vtd(true, TableMode::Arena);
  config.sharing = Sharing::Exclusive;
  Table& table = **Table::create(host.memory, config);
  read_beside_a_writer(table, 100, 3, [&](std::mt19937_64& random) {
    const u64 page = (random() % 100) * 3 + 1;
    (void)map_now(table, page << 12, random() % 1000 << 12, 0x2000);
    (void)map_now(table, u64{2} << 20, u64{4} << 20, u64{4} << 20);
    Gather gather;
    (void)table.cut(Iova((u64{2} << 20) + 0x5000), gather);
    gather.complete(table);
    (void)unmap_now(table, u64{2} << 20, u64{4} << 20);
    (void)unmap_now(table, page << 12, 0x2000);
  });
  Table::destroy(&table);
}

TEST(ExclusiveTable, ReadersNeedNoLockWhileTheTopGrows) {
  ThreadWorld world(ram_bytes);
  TestMemory host(world);
  const Kind kind{"", tiny(true, TableMode::Page), 2, 0, 0, nullptr};
  TableConfig config = kind.config;
  config.sharing = Sharing::Exclusive;
  Device device(world, kind);
  Table& table = **create_table<TinyFormat>(host.memory, config, &device);
  device.begin(table);
  u64 changes = 0;
  read_beside_a_writer(table, 5, 60, [&](std::mt19937_64& random) {
    const u64 bits = std::min<u64>(16 + ++changes / 8, 23);
    const u64 page = (u64{1} << (bits - 12)) + random() % 16 * 3;
    (void)map_now(table, page << 12, 0x10'0000, 0x1000);
    (void)unmap_now(table, page << 12, 0x1000);
  });
  EXPECT_EQ(table.levels(), 6u);
  Table::destroy(&table);
}

}  // namespace
}  // namespace holdfast::pt
