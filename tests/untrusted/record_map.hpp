// Every field of every record that a kernel left for the next one, found by walking from the four numbers.
//
// A decoder of its own, built from the declarations in holdfast/abi and the manual's entries (holdfast/hw): it believes
// the memory of a kernel that is known to be sound, and throws std::runtime_error where that is not what it expects.
// A field knows what may be lost when it is bad, what the log must name then, and how every checksum that covers it is
// made right again.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "holdfast/abi/checksum.hpp"
#include "holdfast/base/boot_info.hpp"
#include "sim/guest_ram.hpp"

namespace untrusted {

using namespace holdfast;  // NOLINT

/// What a bad record may cost: a set. Everything outside it must go on.
using Loss = u32;
namespace loss {
inline constexpr Loss nothing = 0;
inline constexpr Loss claim0 = 1 << 0;  // device 0 does not come back to user space; it may still translate
inline constexpr Loss claim1 = 1 << 1;
inline constexpr Loss stop0 = 1 << 2;  // device 0 is blocked
inline constexpr Loss stop1 = 1 << 3;
inline constexpr Loss memory = 1 << 4;  // guest memory does not come back, and so no device gets a new domain
inline constexpr Loss state = 1 << 5;   // the VMM's state file does not come back
inline constexpr Loss files = claim0 | claim1 | memory | state;
inline constexpr Loss devices = claim0 | claim1 | stop0 | stop1;
inline constexpr Loss everything = files | devices;
constexpr Loss claim(u32 device) { return device == 0 ? claim0 : claim1; }
constexpr Loss stop(u32 device) { return device == 0 ? stop0 : stop1; }
constexpr Loss device(u32 index) { return claim(index) | stop(index); }
}  // namespace loss

enum class Family : u8 { Map, Sessions, Files, Records, Attestation, LiveEntries, PageTables };

enum class Shape : u8 {
  Number,  // 8, 4, 2 or 1 bytes
  Text,    // characters
  Bits,    // a word of flags
  OneBit,  // one bit of such a word, to be cleared
};

struct Field {
  std::string name;         // "device.0.domain_iommu.attachment_id"
  bool in_numbers = false;  // of the four numbers, not of memory
  PhysAddr at;              // or an offset into the four numbers
  u64 size_bytes = 0;
  Shape shape = Shape::Number;
  unsigned bit = 0;  // OneBit
  Family family{};
  Loss may_lose = loss::everything;
  std::string who;               // one of these (a|b) the log must name; empty: anything
  std::function<void()> repair;  // empty when no checksum covers it
  PhysAddr sibling;              // the record of the same kind that is another's; 0: none
  PhysAddr twin;                 // the same fact told once more by another record; 0: not
};

/// Memory of a sound kernel.
class Ram {
 public:
  explicit Ram(const sim::GuestRam& ram) : x_ram(&ram) {}
  template <class T>
  [[nodiscard]] T& at(PhysAddr address) const {
    return *reinterpret_cast<T*>(bytes(address, sizeof(T)));
  }
  [[nodiscard]] std::byte* bytes(PhysAddr address, u64 size) const {
    std::byte* found = x_ram->at(address, size);
    if (found == nullptr) throw std::runtime_error("a record points outside memory");
    return found;
  }
  [[nodiscard]] bool contains(PhysAddr address, u64 size) const { return x_ram->at(address, size) != nullptr; }
  [[nodiscard]] u64 end() const { return x_ram->end(); }
  [[nodiscard]] const sim::GuestRam& guest() const { return *x_ram; }

 private:
  const sim::GuestRam* x_ram;
};

/// A preserved block's owner.
struct Owner {
  PhysRange range;
  std::string what;  // "session block"
  Loss may_lose = 0;
  std::string who;
};

struct RecordMap {
  std::vector<Field> fields;
  std::vector<Owner> owners;
  std::vector<PhysRange> unowned;  // preserved, and no record leads there
};

/// Legacy or scalable tables under the root.
enum class Mode : u8 { Legacy, Scalable };

[[nodiscard]] RecordMap read_records(const sim::GuestRam& ram, const Handover& handover, Mode mode);

/// Requester ids of the two preserved devices, and the names under which the log knows them and their units.
struct Cast {
  u16 id = 0;
  std::string name;
  PhysAddr unit_registers;
  std::string unit_name;
};
[[nodiscard]] const Cast& cast(u32 device);
[[nodiscard]] u32 device_of(u16 id);
[[nodiscard]] u32 device_of_unit(u64 registers);

}  // namespace untrusted
