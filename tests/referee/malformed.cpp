// Building, breaking and asking. See malformed.hpp.
#include "tests/referee/malformed.hpp"

#include <sstream>

#include "host/run_error.hpp"

namespace referee {
namespace {

using pt::VerifyReason;

constexpr u64 region = u64{5} << 39;  // its pages are at 1, 2 and 3 GiB from here: all indexes differ
constexpr u64 pattern = 0x0123'4567'89ab'cdef;

[[noreturn]] void fail(const char* what) { throw host::RunError(host::ExitCode::Internal, what); }

/// A table with one page of 4 KiB, 2 MiB and 1 GiB each.
class Victim {
 public:
  Victim(Machine& machine, Memory& memory) : x_machine(machine), x_config(shape_of(machine)) {
    auto table = pt::Table::create(memory, x_config);
    if (!table.ok()) fail("a table cannot be created");
    x_table = *table;
    for (const unsigned page_lg2 : {12u, 21u, 30u}) map(iova(page_lg2), {target(page_lg2), u64{1} << page_lg2});
  }
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;
  ~Victim() { pt::Table::destroy(x_table); }

  [[nodiscard]] Root root() const { return {x_table->top(), x_config.levels, x_config.iova_bits, 12}; }
  [[nodiscard]] pt::Table& table() const { return *x_table; }
  [[nodiscard]] static u64 iova(unsigned page_lg2) {
    return region + gib * (page_lg2 / 9) + (page_lg2 == 12 ? 0x345'6000 : 0);
  }
  [[nodiscard]] PhysAddr target(unsigned page_lg2) const {
    const u64 end = (x_machine.ram().targets().start + x_machine.ram().targets().size_bytes).value;
    return PhysAddr(align_down(end - gib, gib) + (page_lg2 == 12 ? 0x7000 : page_lg2 == 21 ? 0x40'0000 : 0));
  }
  void map(u64 at, PhysRange to) {
    pt::Gather gather;
    const Status status = x_table->map(Iova(at), {&to, 1}, pt::Prot::ReadWrite, gather);
    gather.complete(*x_table);
    if (!status.ok()) fail("a page cannot be mapped");
  }
  /// Where the entry of @p level on the path of @p at is.
  [[nodiscard]] PhysAddr entry(u64 at, unsigned level) const {
    PhysAddr table = x_table->top();
    for (unsigned here = x_config.levels - 1u;; --here) {
      const u64 index = at >> (12 + 9 * here) & 0x1ff;
      if (here == level) return table + 8 * index;
      table = x_machine.next_table(x_machine.ram().load(table + 8 * index));
    }
  }
  [[nodiscard]] pt::Format format() const { return x_config.format; }

 private:
  /// Four levels, as many sizes as there are.
  static pt::TableConfig shape_of(const Machine& machine) {
    for (const pt::TableConfig& shape : machine.shapes())
      if (shape.levels == 4 && (shape.page_sizes & 0x4020'1000) == 0x4020'1000) return shape;
    fail("no shape of four levels");
  }
  Machine& x_machine;
  pt::TableConfig x_config;
  pt::Table* x_table = nullptr;
};

/// Tables are in the memory for tables, targets in RAM.
class RamOwner final : public pt::TableOwner {
 public:
  explicit RamOwner(const SharedRam& ram) : x_ram(ram) {}
  [[nodiscard]] bool owns(PhysAddr table, unsigned order) const override {
    return x_ram.tables().contains(table, page_size_bytes << order);
  }
  [[nodiscard]] bool may_reach(PhysRange target) const override {
    return x_ram.targets().contains(target.start, target.size_bytes);
  }

 private:
  const SharedRam& x_ram;
};

/// A good table for the device's buffer.
class Landing {
 public:
  Landing(Machine& machine, Memory& memory) : x_machine(machine), x_good(machine, memory) {
    x_good.map(at, {machine.landing(), page_size_bytes});
  }
  void fill() {
    x_machine.attach(x_good.root());
    x_machine.ram().store(x_machine.landing(), pattern);
    x_machine.edu().read_memory(at, 0, 8);
    if (x_machine.take_fault()) fail("the good table faults");
  }
  u64 read_back() {
    x_machine.attach(x_good.root());
    x_machine.edu().write_memory(at, 0, 8);
    if (x_machine.take_fault()) fail("the good table faults");
    return x_machine.ram().load(x_machine.landing());
  }

 private:
  static constexpr u64 at = region + 0x1000;
  Machine& x_machine;
  Victim x_good;
};

u32 ask_qemu(Machine& machine, const Root& root, PhysAddr target, u64 iova, Access access, Landing& landing) {
  const SharedRam& ram = machine.ram();
  landing.fill();
  ram.store(target, access == Access::Read ? ~pattern : 0);
  machine.attach(root);
  (void)machine.take_fault();
  if (access == Access::Read)
    machine.edu().read_memory(iova, 0, 8);
  else
    machine.edu().write_memory(iova, 0, 8);
  const auto fault = machine.take_fault();
  if (fault) return fault->code;
  const bool done = access == Access::Read ? landing.read_back() == ~pattern : ram.load(target) == pattern;
  return done ? passes : refuses;
}

VerifyReason ask_verifier(TableMemory& memory, const Machine& machine, const Victim& victim,
                          const pt::SavedTable& saved) {
  pt::VerifyReport report;
  const Status status = pt::inspect(memory.memory(), victim.format(), saved, RamOwner(machine.ram()), report);
  // Every change breaks the sum: that it is found last of all says that nothing else is wrong.
  return status.ok() || report.reason == VerifyReason::Checksum ? VerifyReason::None : report.reason;
}

std::string verdict(u32 code) {
  if (code == passes) return "passes";
  if (code == refuses) return "refuses";
  std::ostringstream text;
  text << "fault " << std::hex << code;
  return text.str();
}

}  // namespace

bool applies(const MalformedRow& row, const MachineKind& kind) {
  for (std::string_view left = row.machines;; left.remove_prefix(left.find('|') + 1)) {
    if (std::string_view(kind.name).starts_with(left.substr(0, left.find('|')))) return true;
    if (left.find('|') == std::string_view::npos) return false;
  }
}

// RISC-V: page faults of the second stage are numbered eight above those of the first, which the list has.
Answers expected_answers(const MalformedRow& row, const MachineKind& kind) {
  const bool second = std::string_view(kind.name).starts_with("riscv_second");
  const auto code = [&](u32 listed) { return second && (listed == 13 || listed == 15) ? listed + 8 : listed; };
  return {code(row.qemu), code(row.walker), row.verifier};
}

std::string to_string(const Answers& answers) {
  const std::string_view reason = to_string(answers.verifier);
  return "QEMU " + verdict(answers.qemu) + ", walker " + verdict(answers.walker) + ", verifier " +
         (answers.verifier == VerifyReason::None ? "accepts" : std::string(reason));
}

Answers MalformedTables::judge(const MalformedRow& row) {
  const SharedRam& ram = x_machine.ram();
  Landing landing(x_machine, x_memory.memory());
  const Victim victim(x_machine, x_memory.memory());
  const pt::SavedTable saved = victim.table().saved();
  const u64 iova = Victim::iova(row.page_lg2);
  const PhysAddr entry = victim.entry(iova, row.level);
  const u64 good = ram.load(entry);
  ram.store(entry, (good & ~row.clear) | row.set);

  Answers answers;
  const WalkResult walked = x_machine.walk(victim.root(), iova, row.access);
  if (!walked.ok()) answers.walker = x_machine.recorded_code(walked, iova).value_or(refuses);
  answers.qemu = ask_qemu(x_machine, victim.root(), victim.target(row.page_lg2), iova, row.access, landing);
  answers.verifier = ask_verifier(x_whole, x_machine, victim, saved);
  ram.store(entry, good);  // so that the table can be taken apart
  return answers;
}

}  // namespace referee
