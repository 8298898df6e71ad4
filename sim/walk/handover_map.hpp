// An independent reader of what a kernel leaves for the next one: the root FDT, the radix tree of preserved pages and
// the scratch array of KHO ("kho-v2").
//
// Written from the format's description alone and sharing nothing with holdfast/kho, so that the two check each other.
// The input is memory that a kernel wrote: nothing in it is believed, every loop is bounded, and the first thing that
// does not fit ends the reading with a sentence.
#pragma once

#include <string>
#include <vector>

#include "sim/guest_ram.hpp"

namespace sim::walk {

struct Subtree {
  std::string name;
  PhysAddr data;
};

struct HandoverMap {
  std::string error;             // empty: everything was read
  std::vector<Block> preserved;  // in the order of the radix tree's keys
  std::vector<PhysRange> scratch;
  std::vector<Subtree> subtrees;
  std::vector<PhysRange> bookkeeping;  // root FDT, scratch array and radix nodes: needed until the map was read

  [[nodiscard]] bool ok() const { return error.empty(); }
};

[[nodiscard]] HandoverMap read_handover(const PhysicalMemory& memory, const Handover& handover);

}  // namespace sim::walk
