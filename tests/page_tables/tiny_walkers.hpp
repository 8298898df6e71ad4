// Naive walkers of the two test formats with contiguous leaves (holdfast/pt/test_formats.hpp), in the manner of
// sim/walk: bits typed once more, nothing shared with the formats.
//
//   replicated   VT-d second-stage bits; bit 63 in all of 2 or 4 alike items, whose size 2^s stands in the address as
//                its lowest set bit, s - 1
//   own address  Arm-like: bit 0 valid, bit 1 table or page, bit 7 read-only, bit 51 dirty management, bit 52 joins 4
//                items at level 0, 2 at level 1
//
// Threads: any. Failure: values.
#pragma once

#include "sim/walk/walk.hpp"

namespace page_tables {

enum class TinyKind : sim::u8 { Replicated, OwnAddress };
enum class TinyExtent : sim::u8 { Lower, Signed, Upper };

struct TinyTables {
  TinyKind kind;
  sim::PhysAddr top;
  unsigned levels;
  unsigned iova_bits;
  TinyExtent extent;
};

sim::walk::Enumeration enumerate_leaves(const sim::walk::ReadWord& read, const TinyTables& tables,
                                        const sim::walk::VisitLeaf& visit);

}  // namespace page_tables
