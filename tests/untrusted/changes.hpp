// What is done to one field: the list of lies.
#pragma once

#include <string>
#include <vector>

#include "tests/untrusted/record_map.hpp"

namespace untrusted {

/// Addresses that lies point to.
struct Targets {
  PhysAddr outside;       // just behind the last byte of RAM
  PhysAddr registers;     // a unit's register page: not memory, and alive
  PhysAddr free_page;     // RAM that belongs to nobody
  PhysAddr other_record;  // preserved, and something else
};

struct Change {
  std::string name;
  std::string bytes;  // as long as the field
};

/// Every change of the field that changes it.
[[nodiscard]] std::vector<Change> changes_of(const Field& field, const std::string& now, const Targets& targets);

/// How much of the handover agrees with the lie.
enum class Way : u8 {
  Raw,       // nothing does
  Repaired,  // every checksum that covers the field
  Twinned,   // and the attested copy of the same fact
};
[[nodiscard]] std::vector<Way> ways_of(const Field& field);
[[nodiscard]] const char* to_string(Way way);

}  // namespace untrusted
