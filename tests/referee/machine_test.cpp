// Every machine by itself: tables of a handful of words, typed by hand from the manuals, lead where they should and
// refuse what they should. No builder of ours is involved.
#include "tests/referee/machine_test.hpp"

#include <signal.h>

#include <map>

namespace referee {
namespace {

constexpr u64 iova = 0x321'4567'8000;  // all four indexes differ, and none is 0
constexpr unsigned levels = 4;

/// The entries of one format.
struct Words {
  u64 (*table)(u64 address);
  u64 (*page)(u64 address);       // may be read and written
  u64 (*read_only)(u64 address);  // a page
  unsigned iova_bits = 48;
  unsigned top_index_bits = 9;
};

const std::map<std::string, Words> words_of_machine{
    {"vtd_legacy", {[](u64 to) { return to | 3; }, [](u64 to) { return to | 3; }, [](u64 to) { return to | 1; }}},
    {"vtd_scalable", {[](u64 to) { return to | 3; }, [](u64 to) { return to | 3; }, [](u64 to) { return to | 1; }}},
    {"vtd_first_stage",
     {[](u64 to) { return to | 0x27; }, [](u64 to) { return to | 0x67; }, [](u64 to) { return to | 0x25; }}},
    {"smmu_stage1",
     {[](u64 to) { return to | 3; }, [](u64 to) { return to | 0xf43; }, [](u64 to) { return to | 0xfc3; }}},
    {"smmu_stage2",
     {[](u64 to) { return to | 3; }, [](u64 to) { return to | 0x7ff; }, [](u64 to) { return to | 0x77f; }, 44}},
    {"riscv_first_stage",
     {[](u64 to) { return to >> 2 | 1; }, [](u64 to) { return to >> 2 | 0xd7; },
      [](u64 to) { return to >> 2 | 0x53; }}},
    {"riscv_second_stage",
     {[](u64 to) { return to >> 2 | 1; }, [](u64 to) { return to >> 2 | 0xd7; }, [](u64 to) { return to >> 2 | 0x53; },
      50, 11}},
};

constexpr u64 amd_page(u64 to, u64 rights) { return to | rights << 61 | 1; }

/// Three pages from iova: one that may be written, one that may not, and a hole; and a page elsewhere for the device.
class HandMade {
 public:
  HandMade(Machine& machine, const std::string& name) : x_machine(machine), x_top(machine.ram().tables().start) {
    if (name == "amd") {
      build([](u64 to, unsigned level) { return amd_page(to, 3) | u64{level} << 9; },
            [](u64 to) { return amd_page(to, 3); }, [](u64 to) { return amd_page(to, 1); }, 9);
      x_iova_bits = 48;
    } else {
      const Words& words = words_of_machine.at(name);
      build([&](u64 to, unsigned) { return words.table(to); }, words.page, words.read_only, words.top_index_bits);
      x_iova_bits = words.iova_bits;
    }
    machine.attach(root());
  }
  [[nodiscard]] Root root() const { return {x_top, levels, x_iova_bits, 12}; }
  [[nodiscard]] PhysAddr target(unsigned page) const {
    return x_machine.ram().targets().start + 0x5000 + 0x3000 * page;
  }
  [[nodiscard]] u64 landing() const { return iova + 0x1f000; }

 private:
  template <class Table, class Page, class ReadOnly>
  void build(Table table, Page page, ReadOnly read_only, unsigned top_index_bits) {
    const SharedRam& ram = x_machine.ram();
    PhysAddr at = x_top;
    for (unsigned level = levels - 1; level != 0; --level) {
      const PhysAddr next = x_top + 0x4000 * u64{levels - level};
      const unsigned bits = level == levels - 1 ? top_index_bits : 9;
      ram.store(at + 8 * index(level, bits), table(next.value, level));
      at = next;
    }
    ram.store(at + 8 * index(0, 9), page(target(0).value));
    ram.store(at + 8 * (index(0, 9) + 1), read_only(target(1).value));
    ram.store(at + 8 * (index(0, 9) + 0x1f), page(x_machine.landing().value));
  }
  static u64 index(unsigned level, unsigned bits) { return iova >> (12 + 9 * level) & ((u64{1} << bits) - 1); }

  Machine& x_machine;
  PhysAddr x_top;
  unsigned x_iova_bits = 48;
};

INSTANTIATE_TEST_SUITE_P(Machine, OnMachine, testing::ValuesIn(machine_kinds()), name_of);

std::string without_release(const std::string& name) { return name.substr(0, name.rfind('_')); }

/// The record that this machine makes of what the walker says.
std::optional<Record> expected(const Machine& machine, const Root& root, u64 at, Access access) {
  const WalkResult result = machine.walk(root, at, access);
  EXPECT_FALSE(result.ok());
  const auto code = machine.recorded_code(result, at);
  if (!code) return std::nullopt;
  return Record{*code, at & ~u64{0xfff}, access};
}

TEST_P(OnMachine, FollowsTablesTypedByHand) {
  const HandMade tables(*machine, without_release(GetParam().name));
  const SharedRam& ram = machine->ram();
  const u64 told = 0x0123'4567'89ab'cdef;
  ram.store(tables.target(1) + 0x10, told);
  machine->edu().read_memory(iova + 0x1010, 0x20, 8);
  machine->edu().write_memory(iova + 0x30, 0x20, 8);
  EXPECT_EQ(to_string(machine->take_fault()), "no fault");
  EXPECT_EQ(ram.load(tables.target(0) + 0x30), told);
  EXPECT_EQ(machine->walk(tables.root(), iova + 0x30, Access::Write).address, tables.target(0) + 0x30);
  EXPECT_EQ(machine->walk(tables.root(), iova + 0x1010, Access::Read).address, tables.target(1) + 0x10);
}

TEST_P(OnMachine, RefusesAWriteToAPageThatMayOnlyBeRead) {
  const HandMade tables(*machine, without_release(GetParam().name));
  const SharedRam& ram = machine->ram();
  ram.store(tables.target(0), 1);
  ram.store(tables.target(1), 2);
  machine->edu().read_memory(iova, 0, 8);
  EXPECT_EQ(to_string(machine->take_fault()), "no fault");
  machine->edu().write_memory(iova + 0x1000, 0, 8);
  EXPECT_EQ(ram.load(tables.target(1)), 2u);
  EXPECT_EQ(to_string(machine->take_fault()),
            to_string(expected(*machine, tables.root(), iova + 0x1000, Access::Write)));
}

TEST_P(OnMachine, RefusesAHole) {
  const HandMade tables(*machine, without_release(GetParam().name));
  machine->edu().read_memory(iova + 0x2000, 0, 8);
  EXPECT_EQ(to_string(machine->take_fault()),
            to_string(expected(*machine, tables.root(), iova + 0x2000, Access::Read)));
  machine->ram().store(machine->landing(), ~u64{0});
  machine->edu().write_memory(tables.landing(), 0, 8);
  EXPECT_EQ(machine->ram().load(machine->landing()), 0u) << "what failed to be read is not zero";
  EXPECT_EQ(to_string(machine->take_fault()), "no fault");
}

TEST_P(OnMachine, UsesWhatItHasCachedUntilItIsInvalidated) {
  const std::string name = without_release(GetParam().name);
  const HandMade tables(*machine, name);
  const SharedRam& ram = machine->ram();
  const u64 told = 0x0123'4567'89ab'cdef;
  // What the device has read is written where it can be seen, by whole tables.
  const auto show = [&] {
    const HandMade again(*machine, name);
    machine->edu().write_memory(again.landing(), 0, 8);
    return ram.load(machine->landing());
  };
  ram.store(tables.target(0), 1);
  machine->edu().read_memory(iova, 0, 8);
  ram.clear(ram.tables());
  ram.store(tables.target(0), told);
  machine->edu().read_memory(iova, 0, 8);
  EXPECT_EQ(to_string(machine->take_fault()), "no fault");
  EXPECT_EQ(show(), told);

  machine->edu().read_memory(iova, 0, 8);
  ram.clear(ram.tables());
  machine->invalidate();
  machine->edu().read_memory(iova, 0, 8);
  EXPECT_EQ(to_string(machine->take_fault()), to_string(expected(*machine, tables.root(), iova, Access::Read)));
  EXPECT_EQ(show(), 0u);
}

// A machine that is not there any more has left nothing.
TEST_P(OnMachine, EndsWithItsObject) {
  const pid_t pid = machine->pid();
  EXPECT_EQ(::kill(pid, 0), 0);
  machine.reset();
  EXPECT_NE(::kill(pid, 0), 0);
}

}  // namespace
}  // namespace referee
