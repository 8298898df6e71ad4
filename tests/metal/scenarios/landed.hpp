// Frames that the network card delivered into memory between two milestones of a jump.
//
// The card's head alone proves nothing: one that may not write memory any more runs through its ring all the same. Nor
// do filled descriptors alone: those of the whole time since the guest looked last wait for the next one. So a frame
// counts when the head passed its descriptor between the two milestones, as kernels sampled it there, and the next
// guest found that descriptor filled. Pure.
#pragma once

#include <optional>

#include "tests/metal/updates.hpp"
#include "vmm/e1000e_driver.hpp"

namespace metal_test {

struct Delivery {
  u64 passed = 0;  // descriptors that the head passed
  u64 filled = 0;  // of them, those that the guest found filled
};

/// Of jump @p jump, from phase @p from to phase @p to. Nothing when the lines do not say it.
[[nodiscard]] inline std::optional<Delivery> delivered(const std::vector<Line>& lines, u64 jump, std::string_view from,
                                                       std::string_view to) {
  using Ring = vmm::E1000e::Received;
  const PhaseTime* start = nullptr;
  const PhaseTime* end = nullptr;
  const std::vector<Update> updates = collect_updates(lines);
  for (const Update& update : updates) {
    if (update.generation != jump) continue;
    start = update.find(from);
    end = update.find(to);
  }
  for (const Line& line : lines) {
    if (!line.is("back", "net") || line.number("generation") != jump) continue;
    const auto first = line.number("first");
    const auto landed = line.number("landed");
    if (!first || !landed || start == nullptr || end == nullptr) return std::nullopt;
    if (*first >= vmm::E1000e::receive_entries || start->value >= vmm::E1000e::receive_entries ||
        end->value >= vmm::E1000e::receive_entries)
      return std::nullopt;
    const auto head = static_cast<u32>(start->value);
    Delivery delivery{.passed = Ring::distance(head, static_cast<u32>(end->value)), .filled = 0};
    for (u32 i = 0; i < delivery.passed; ++i)
      delivery.filled += Ring::distance(static_cast<u32>(*first), Ring::advance(head, i)) < *landed ? 1 : 0;
    return delivery;
  }
  return std::nullopt;
}

}  // namespace metal_test
