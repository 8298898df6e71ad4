// See jump_watch.hpp.
#include "tests/metal/jump_watch.hpp"

namespace metal_test {
namespace {

constexpr auto between_looks = std::chrono::milliseconds(10);

}  // namespace

bool JumpWatch::watch(u64 jump) {
  auto before = look_in_passing("before");
  if (!before) return false;
  part_with_unpreserved(*before);
  Held held;
  if (!look_inside(jump, *before, held) || !look_after_adoption(jump, held)) return false;
  // The new kernel's guest may replace the tables as soon as it has them back: pages stay the same, tables need not.
  const auto taken_back = [&](const Line& line) { return line.is("update") && line.number("generation") == jump; };
  if (!x_machine.wait_for(taken_back)) return false;
  const auto after = look_in_passing("after");
  if (!after) return false;
  x_outcome.expect_none(fmt::format("jump {}: tables after it", jump),
                        compare_tables(held.look, *after, Tables::MayBeReplaced));
  return true;
}

std::optional<Look> JumpWatch::look_in_passing(const char* when) {
  if (!x_machine.stop()) return std::nullopt;
  auto look = x_machine.look();
  if (!look || !x_machine.go_on()) return std::nullopt;
  check_fault_status(std::string("fault status ") + when, *look);
  return look;
}

bool JumpWatch::look_inside(u64 jump, const Look& before, Held& held_pages) {
  const bool waits = x_machine.wait_for_hold(jump, metal::holds_before_branch);
  if (x_machine.has_ended()) return false;
  x_outcome.expect(fmt::format("jump {}: seen from outside", jump), waits, waits ? "yes" : "the hold was missed");
  if (!waits || !x_machine.stop()) return false;
  const GuestMemory& memory = x_machine.memory();
  const auto look = x_machine.look();
  if (!look) return false;
  held_pages.look = *look;
  const Look& held = held_pages.look;
  const bool still = held.boot.holding == metal::holds_before_branch;
  x_outcome.expect(fmt::format("jump {}: held while it was looked at", jump), still, still ? "yes" : "no longer");
  x_outcome.expect_none(fmt::format("jump {}: tables inside the blackout", jump),
                        compare_tables(before, held, Tables::Stay));
  x_outcome.expect_none(fmt::format("jump {}: what devices reach is handed over", jump),
                        check_handed_over(memory, held));
  check_fault_status(fmt::format("jump {}: fault status", jump), held);
  x_held = held;
  held_pages.pages = memory.digest_pages();
  if (!x_machine.go_on()) return false;
  std::this_thread::sleep_for(between_looks);
  if (!x_machine.stop()) return false;
  const PageDigests second = memory.digest_pages();
  const bool ended_in_hold = read_boot_page(memory).holding == metal::holds_before_branch;
  memory.end_hold();
  if (!x_machine.go_on()) return false;
  x_outcome.expect(fmt::format("jump {}: both looks inside the hold", jump), ended_in_hold,
                   ended_in_hold ? "yes" : "metal.hold_us is too short");
  if (!ended_in_hold) return true;  // what changed then says nothing

  const std::vector<PhysAddr> changed = changed_pages(held_pages.pages, second);
  x_outcome.expect_none(fmt::format("jump {}: what changed inside the blackout", jump),
                        check_changes(memory, held, x_machine.first_image(), changed));
  const PageSet writable = writable_pages(memory, held.tables);
  for (const PhysAddr page : changed) x_pages_written += writable.contains({page, page_size_bytes}) ? 1 : 0;
  return true;
}

void JumpWatch::check_fault_status(const std::string& what, const Look& look) {
  if (x_unpreserved.empty()) x_outcome.expect(what, look.fault_status == 0, fmt::format("{:#x}", look.fault_status));
}

/// Takes them out of what is to stay, and keeps where they could write.
void JumpWatch::part_with_unpreserved(Look& before) {
  UnitTables theirs;
  std::erase_if(before.tables.devices, [&](const DeviceTables& device) {
    if (!x_unpreserved.contains(device.source)) return false;
    theirs.devices.push_back(device);
    return true;
  });
  x_targets.clear();
  for (const DeviceTables& device : theirs.devices)
    for (const sim::walk::Leaf& leaf : device.leaves)
      for (u64 at = 0; leaf.write && at < leaf.page_bytes; at += page_size_bytes)
        x_targets.push_back(leaf.address + at);
}

void JumpWatch::check_targets(u64 jump, const std::vector<PhysAddr>& changed) {
  if (x_unpreserved.empty()) return;
  x_outcome.expect_more(fmt::format("jump {}: pages that unpreserved devices could write", jump), x_targets.size(), 0);
  std::vector<std::string> wrong;
  for (const PhysAddr target : x_targets)
    if (std::ranges::find(changed, target) != changed.end())
      wrong.push_back(fmt::format("page {:#x} changed", target.value));
  x_outcome.expect_none(fmt::format("jump {}: unpreserved devices write nothing", jump), wrong);
}

bool JumpWatch::look_after_adoption(u64 jump, const Held& held) {
  const bool waits = x_machine.wait_for_hold(jump, metal::holds_after_adoption);
  if (x_machine.has_ended()) return false;
  x_outcome.expect(fmt::format("jump {}: adoption seen from outside", jump), waits, waits ? "yes" : "it was missed");
  if (!waits) return false;
  check_walks(jump);
  if (!x_machine.stop()) return false;
  const GuestMemory& memory = x_machine.memory();
  const auto adopted = x_machine.look();
  if (!adopted) return false;
  const bool still = adopted->boot.holding == metal::holds_after_adoption;
  x_outcome.expect(fmt::format("jump {}: held after adoption", jump), still,
                   still ? "yes" : "metal.hold_us is too short");
  if (still) {
    const std::vector<PhysAddr> changed = changed_pages(held.pages, memory.digest_pages());
    x_outcome.expect_none(fmt::format("jump {}: tables after adoption", jump),
                          compare_tables(held.look, *adopted, Tables::Stay));
    x_outcome.expect_none(fmt::format("jump {}: what changed over it", jump),
                          check_changes_over_jump(memory, held.look, changed));
    check_targets(jump, changed);
  }
  memory.end_hold();
  return x_machine.go_on();
}

/// While the new kernel waits after adoption nobody replaces a table: what the unit walks now is what was preserved.
void JumpWatch::check_walks(u64 jump) {
  if (x_idle) return;
  constexpr auto patience = std::chrono::seconds(2);
  constexpr auto between = std::chrono::milliseconds(10);
  const auto end = std::min(x_machine.deadline(), Clock::now() + patience);
  std::vector<std::string> wrong = check_walked_anew(x_machine.trace(), jump, x_unpreserved);
  while (!wrong.empty() && Clock::now() < end) {
    std::this_thread::sleep_for(between);
    wrong = check_walked_anew(x_machine.trace(), jump, x_unpreserved);
  }
  x_outcome.expect_none(fmt::format("jump {}: preserved tables are walked anew", jump), wrong);
}

}  // namespace metal_test
