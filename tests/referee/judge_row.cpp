// One row of the list: tables typed by hand, one word changed, both units asked. See entries.hpp.
#include "host/run_error.hpp"
#include "tests/referee/entries.hpp"

namespace referee {
namespace {

constexpr PhysAddr small_target{0x7000'7000};
constexpr PhysAddr target_2m{0x7100'0000};
constexpr PhysAddr target_1g{0x4000'0000};
constexpr u64 present = 3;
constexpr u64 large = 0x83;

}  // namespace

// All in the first 2 GiB of addresses: 1 GiB as one page, of the next one a page of 4 KiB and one of 2 MiB.
RowTables::RowTables(const SharedRam& ram) : x_ram(ram) {
  const PhysAddr top = layout(Mode::Legacy).top;
  const PhysAddr third = top + 0x1000;
  const PhysAddr second = top + 0x2000;
  const PhysAddr first = top + 0x3000;
  ram.store(top, third.value | present);
  ram.store(third, target_1g.value | large);
  ram.store(third + 8, second.value | present);
  ram.store(second + u64{8} * 0x11a, first.value | present);
  ram.store(second + u64{8} * 0x11c, target_2m.value | large);
  ram.store(first + u64{8} * 0x56, small_target.value | present);
}

Layout RowTables::layout(Mode mode) const {
  const PhysAddr start = x_ram.structures() + 0x2'0000;
  return {.mode = mode,
          .root_table = start,
          .context_table = start + 0x1000,
          .directory = start + 0x2000,
          .pasid_table = start + 0x4000,
          .top = start + 0x8000,
          .rid_pasid = 0x2041,  // in the second page of the directory
          .pdts = 1};
}

PhysAddr RowTables::target(u64 iova) const {
  if (iova >> 30 == 0) return target_1g + iova;
  return iova >> 21 == 0x6380'0000 >> 21 ? target_2m + (iova & 0x1f'ffff) : small_target + (iova & 0xfff);
}

RowAnswers judge_row(EntryReferee& referee, Release release, const EntryRow& row) {
  const RowTables tables(referee.machine().ram());
  Structures structures(referee.machine().ram(), tables.layout(referee.mode()));
  const PhysAddr target = tables.target(row.request.iova);
  const Verdict without = referee.ask_unit(structures, row.request, target).verdict;
  structures.apply(row.edit, row.request.iova);
  const EntryReferee::UnitAnswer unit = referee.ask_unit(structures, row.request, target);
  RowAnswers answers;
  answers.unit = unit.verdict;
  answers.qemu = referee.ask_qemu(structures, row.request, {target, unit.address});
  answers.expected = expected_of_qemu(referee.mode(), release, &row.edit, unit.verdict, without);
  return answers;
}

}  // namespace referee
