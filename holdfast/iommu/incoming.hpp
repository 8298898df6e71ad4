// Incoming: what the previous kernel left, read once, from scratch memory only, and nothing of it believed.
//
// Contract: open() copies every record that can be reached without risk: an address is followed only when it is a
// preserved page, once, and a chain is bounded. Versions come first. Each copy carries the first reason why it is not
// believed; records without their attestation, or that differ from it, are not. No page table and no block list is
// read. Writes nothing. The copies live in scratch, so they stay readable until this kernel's own jump.
// Threads: the core's mutex. Failure: NoMemory; everything else is a reason on an object.
#pragma once

#include <new>
#include <optional>
#include <string_view>
#include <type_traits>

#include "holdfast/abi/attest.hpp"
#include "holdfast/abi/iommu.hpp"
#include "holdfast/iommu/unit.hpp"
#include "holdfast/kho/incoming_map.hpp"
#include "holdfast/memory/early.hpp"
#include "holdfast/memory/touch_meter.hpp"

namespace holdfast::iommu {

class Device;
class Domain;

/// Something that was not believed.
struct Quarantined {
  enum class Kind : u8 {
    Records,  // all of it: header, version or attestation
    Unit,
    Domain,
    Device,
  };
  Kind kind = Kind::Records;
  PhysAddr address{};  // Unit: register base; else the record
  u16 segment = 0;     // Device
  SourceId id{};       // Device
  std::string_view reason{};
};

/// A list that only grows, in early memory, whose elements never move.
template <class T>
class EarlyList {
  static_assert(std::is_trivially_destructible_v<T>);
  static constexpr u32 per_chunk = 32;
  union Slot {
    Slot() {}  // NOLINT: made by append()
    T value;
  };
  struct Chunk {
    Chunk* next = nullptr;
    u32 count = 0;
    Slot items[per_chunk];
  };

 public:
  /// Error: NoMemory.
  Result<T*> append(const DirectMap& map, EarlyAllocator& early, const T& value) {
    if (x_last == nullptr || x_last->count == per_chunk) {
      TRY_ASSIGN(const PhysAddr memory, early.allocate(sizeof(Chunk), alignof(Chunk)));
      auto* chunk = ::new (map.bytes(memory)) Chunk;
      (x_last == nullptr ? x_first : x_last->next) = chunk;
      x_last = chunk;
    }
    ++x_size;
    return ::new (static_cast<void*>(&x_last->items[x_last->count++])) T(value);
  }
  [[nodiscard]] u64 size() const { return x_size; }

  class Iterator {
   public:
    Iterator() = default;
    explicit Iterator(Chunk* chunk) : x_chunk(chunk) {}
    T& operator*() const { return x_chunk->items[x_at].value; }
    Iterator& operator++() {
      if (++x_at == x_chunk->count) x_chunk = x_chunk->next, x_at = 0;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return x_chunk != other.x_chunk || x_at != other.x_at; }

   private:
    Chunk* x_chunk = nullptr;
    u32 x_at = 0;
  };
  [[nodiscard]] Iterator begin() const { return Iterator(x_first); }
  [[nodiscard]] Iterator end() const { return Iterator(); }

 private:
  Chunk* x_first = nullptr;
  Chunk* x_last = nullptr;
  u64 x_size = 0;
};

struct IncomingUnit {
  PhysAddr address;  // of the record
  abi::iommu::Unit record{};
  abi::attest::UnitAttest attest{};
  std::string_view reason;   // empty: believed so far
  Unit* unit = nullptr;      // the driver that adopted it
  bool is_stranger = false;  // bad, and not in place of a unit of this machine
};

struct IncomingDevice;

struct IncomingDomain {
  PhysAddr address;
  abi::iommu::Domain record{};
  abi::attest::DomainAttest attest{};
  std::string_view reason;
  u64 block_list_pages = 0;         // known once the list was read and found good
  bool is_kept = false;             // a unit that does not answer may still know its tables: they are never freed
  IncomingDevice* links = nullptr;  // one device for each unit
  Domain* domain = nullptr;         // the restored domain, while it exists
};

struct IncomingDevice {
  PhysAddr address;
  abi::iommu::Device record{};
  abi::attest::DeviceAttest attest{};
  std::string_view reason;
  Unit* unit = nullptr;              // set when adopted
  IncomingDomain* domain = nullptr;  // set when adopted
  IncomingDevice* next_link = nullptr;
  bool is_adopted = false;  // its entry is left in hardware, its id reserved
  bool is_settled = false;  // registered, or given up
  bool is_stuck = false;    // given up, and could not be blocked: hardware may still translate for it

  [[nodiscard]] u16 segment() const { return static_cast<u16>(record.pci_domain_nr); }
  [[nodiscard]] SourceId id() const { return SourceId(static_cast<u16>(record.devid)); }
};

class Incoming {
 public:
  enum class Found : u8 {
    Nothing,  // a normal boot
    Records,  // and every object says whether it is believed
    Refused,  // something is there, and none of it can be believed: see reason()
  };

  explicit Incoming(Memory& memory) : x_memory(memory) {}

  /// Error: NoMemory.
  Result<Found> open(const kho::IncomingMap& incoming, EarlyAllocator& early);
  [[nodiscard]] std::string_view reason() const { return x_reason; }
  [[nodiscard]] std::optional<u64> generation() const { return x_generation; }

  EarlyList<IncomingUnit> units;
  EarlyList<IncomingDomain> domains;
  EarlyList<IncomingDevice> devices;
  struct IncomingMemfd {
    abi::attest::MemfdAttest attest{};
    bool is_believed = false;
  };
  EarlyList<IncomingMemfd> memfds;

  /// Every unit that was attested, its record found or not.
  EarlyList<abi::attest::UnitAttest> unit_attests;
  /// Why records may be missing: a chain that broke off. Empty when none did.
  [[nodiscard]] std::string_view broken_chain() const { return x_broken_chain; }

  /// Header and array pages, each once; freed by the FLB they came with.
  EarlyList<PhysAddr> record_pages;
  EarlyList<PhysAddr> attest_pages;

  [[nodiscard]] IncomingUnit* find_unit(PhysAddr record) const;
  [[nodiscard]] IncomingDomain* find_domain(PhysAddr record) const;
  /// The adopted one, if several records name it.
  [[nodiscard]] IncomingDevice* find_device(u16 segment, SourceId id) const;
  [[nodiscard]] bool was_attested(PhysAddr register_base) const;

 private:
  class Reader;
  friend class Reader;

  Memory& x_memory;
  std::string_view x_reason;
  std::string_view x_broken_chain;
  std::optional<u64> x_generation;
};

}  // namespace holdfast::iommu
