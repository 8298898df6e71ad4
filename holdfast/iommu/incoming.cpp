// Incoming: see incoming.hpp.
#include "holdfast/iommu/incoming.hpp"

#include <algorithm>

#include "holdfast/abi/checksum.hpp"
#include "holdfast/iommu/domain.hpp"
#include "holdfast/luo/stream.hpp"
#include "holdfast/memory/memory.hpp"
#include "holdfast/pt/types.hpp"

namespace holdfast::iommu {
namespace {

namespace linux_abi = abi::iommu;

constexpr u64 max_pages_per_chain = 2048;  // more than 65536 records of the largest kind

constexpr bool all_zero(const auto& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](u8 byte) { return byte == 0; });
}

constexpr bool has_known_flags(const linux_abi::ObjectHeader& header) {
  return (header.flags & ~linux_abi::flag_incoming) == 0;
}

/// What is wrong with a record as against its attestation; empty if nothing.
template <class Record, class Attest>
std::string_view check_attested(const Record& record, const Attest* attest) {
  if (attest == nullptr) return "its record is not attested";
  if (attest->checksum != abi::checksum_of(*attest)) return "its attestation is damaged";
  if (attest->record_checksum != abi::checksum_of_all(record)) return "its record differs from its attestation";
  if (!has_known_flags(attest->header) || !has_known_flags(record.header)) return "its record has unknown flags";
  return {};
}

/// Finds the attestation of a record. Records and attestations are written in the same order, so each search goes on
/// where the last one ended.
template <class Attest>
class AttestFinder {
 public:
  explicit AttestFinder(const EarlyList<Attest>& attests) : x_attests(attests), x_at(attests.begin()) {}

  /// One that is right about @p record, if there is one: a damaged or wrong one takes nothing from it.
  template <class Record>
  const Attest* find(PhysAddr address, const Record& record) {
    const Attest* found = nullptr;
    for (u64 turn = 0; turn < x_attests.size(); ++turn) {
      const Attest& attest = *x_at;
      ++x_at;
      if (!(x_at != x_attests.end())) x_at = x_attests.begin();
      if (attest.record_phys != address.value) continue;
      if (check_attested(record, &attest).empty()) return &attest;
      if (found == nullptr) found = &attest;
    }
    return found;
  }

 private:
  const EarlyList<Attest>& x_attests;
  typename EarlyList<Attest>::Iterator x_at;
};

std::string_view check_unit(const linux_abi::Unit& record, const abi::attest::UnitAttest& attest) {
  if (record.type != static_cast<u64>(linux_abi::UnitType::Intel)) return "its record is of another kind of unit";
  if (record.token != attest.register_base || record.intel.phys_addr != attest.register_base)
    return "its record is of another unit";
  if (record.intel.root_table != attest.root_table) return "its record names another root table";
  if (record.intel.restored != 0 || !all_zero(record.intel.padding)) return "its record has unknown bits";
  return {};
}

std::string_view check_device(const linux_abi::Device& record, const abi::attest::DeviceAttest& attest) {
  if (record.devid > 0xffff || record.pci_domain_nr > 0xffff) return "its record names no PCI function";
  if (record.devid != attest.devid || record.pci_domain_nr != attest.pci_domain_nr)
    return "its record is of another device";
  if (record.domain_iommu.attachment_id > 0xffff) return "its domain id is out of range";
  if (record.intel.restored != 0 || !all_zero(record.intel.padding)) return "its record has unknown bits";
  return {};
}

constexpr bool is_table_mode(u32 mode) {
  return mode == static_cast<u32>(abi::attest::TableMode::Page) ||
         mode == static_cast<u32>(abi::attest::TableMode::Arena);
}

}  // namespace

/// One reading of everything; keeps what open() passes around.
class Incoming::Reader {
 public:
  Reader(Incoming& to, const kho::IncomingMap& map, EarlyAllocator& early)
      : x_to(to), x_map(map), x_early(early), x_direct(to.x_memory.map), x_touches(to.x_memory.touches) {}

  Result<Found> read() {
    const Result<u64> records = luo::early_find_flb(x_direct, x_map, linux_abi::compatible);
    const Result<u64> attest = luo::early_find_flb(x_direct, x_map, abi::attest::compatible);
    if (is_absent(records) && is_absent(attest)) return Found::Nothing;
    if (is_unreadable(records) || is_unreadable(attest)) return refuse("the live-update records cannot be read");

    // Only memory files crossed: the attestation is of them alone.
    const bool has_records = !is_absent(records);
    if (has_records) {
      TRY_ASSIGN(const bool version_known, read_flb(PhysAddr(*records)));
      if (!version_known) return Found::Refused;
      if (is_absent(attest)) return refuse("the IOMMU records are not attested");
    }
    TRY_ASSIGN(const bool readable, read_attest_header(PhysAddr(*attest)));
    if (!readable) return Found::Refused;
    // First pages before any other, so that a chain gone astray costs no other chain.
    TRY(take_heads(has_records));
    TRY(read_attest());
    if (has_records) TRY(read_records());
    return has_records ? Found::Records : Found::Nothing;
  }

 private:
  static bool is_absent(const Result<u64>& flb) { return flb.code() == Code::NoData || flb.code() == Code::NotFound; }
  static bool is_unreadable(const Result<u64>& flb) { return !flb.ok() && !is_absent(flb); }

  Found refuse(std::string_view reason) {
    x_to.x_reason = reason;
    return Found::Refused;
  }

  /// A page of records: preserved as such, and met for the first time. Error: NoMemory.
  Result<bool> take_page(PhysAddr page, EarlyList<PhysAddr>& pages) {
    if (page.value == 0 || !page.is_aligned(page_size_bytes) || !x_direct.is_ram(page, page_size_bytes)) return false;
    if (!x_map.contains({page, 0})) return false;
    for (const PhysAddr known : x_to.record_pages)
      if (known == page) return false;
    for (const PhysAddr known : x_to.attest_pages)
      if (known == page) return false;
    TRY(pages.append(x_direct, x_early, page));
    x_touches.record();
    return true;
  }

  Result<bool> read_flb(PhysAddr page) {
    TRY_ASSIGN(const bool usable, take_page(page, x_to.record_pages));
    if (!usable) return refuse("the header of the IOMMU records is not preserved memory"), false;
    const auto* header = x_direct.at<linux_abi::IommuFlb>(page);
    // Before anything else, and alone: under another version the rest means something else.
    x_version = header->version;
    if (x_version != linux_abi::version_pages && x_version != linux_abi::version_arenas)
      return refuse("the IOMMU records are of an unknown version"), false;
    x_flb = *header;
    return true;
  }

  Result<bool> read_attest_header(PhysAddr page) {
    TRY_ASSIGN(const bool usable, take_page(page, x_to.attest_pages));
    if (!usable) return refuse("the header of the attestation is not preserved memory"), false;
    const auto* header = x_direct.at<abi::attest::Header>(page);
    if (header->magic != abi::attest::magic || header->version != abi::attest::version)
      return refuse("the attestation is of an unknown version"), false;
    const abi::attest::Header copy = *header;
    if (copy.size != sizeof(copy) || copy.checksum != abi::checksum_of(copy))
      return refuse("the header of the attestation is damaged"), false;
    const auto stream = luo::IncomingStream::open(x_direct, x_map);
    if (!stream.ok() || stream->number() != copy.generation)
      return refuse("the attestation was written for another live update"), false;
    x_to.x_generation = copy.generation;
    x_attest = copy;
    return true;
  }

  /// The first page of a chain.
  struct Head {
    PhysAddr page;
    bool is_usable = false;
  };

  Status take_heads(bool with_records) {
    const auto take = [&](u64 page, EarlyList<PhysAddr>& pages, Head& to) -> Status {
      TRY_ASSIGN(to.is_usable, take_page(PhysAddr(page), pages));
      to.page = PhysAddr(page);
      return {};
    };
    TRY(take(x_attest.unit_array, x_to.attest_pages, x_unit_attest_head));
    TRY(take(x_attest.domain_array, x_to.attest_pages, x_domain_attest_head));
    TRY(take(x_attest.device_array, x_to.attest_pages, x_device_attest_head));
    TRY(take(x_attest.memfd_array, x_to.attest_pages, x_memfd_attest_head));
    if (!with_records) return {};
    TRY(take(x_flb.unit_array, x_to.record_pages, x_unit_head));
    TRY(take(x_flb.domain_array, x_to.record_pages, x_domain_head));
    return take(x_flb.device_array, x_to.record_pages, x_device_head);
  }

  Status read_attest() {
    TRY(read_chain(x_unit_attest_head, x_to.attest_pages, x_to.unit_attests));
    TRY(read_chain(x_domain_attest_head, x_to.attest_pages, x_domain_attests));
    TRY(read_chain(x_device_attest_head, x_to.attest_pages, x_device_attests));
    EarlyList<abi::attest::MemfdAttest> memfd_attests;
    TRY(read_chain(x_memfd_attest_head, x_to.attest_pages, memfd_attests));
    for (const auto& attest : memfd_attests) {
      const bool believed = attest.checksum == abi::checksum_of(attest) && has_known_flags(attest.header);
      TRY(x_to.memfds.append(x_direct, x_early, {attest, believed}));
    }
    return {};
  }

  /// @p visit(PhysAddr of the record, const Record&) -> Status, for each record in use. A chain that breaks is cut
  /// there.
  template <class Record, class F>
  Status walk_chain(Head head, EarlyList<PhysAddr>& pages, F&& visit) {
    PhysAddr page = head.page;
    bool is_usable = head.is_usable;
    for (u64 count = 0;; ++count) {
      const auto* header = is_usable ? x_direct.at<linux_abi::ArrayHeader>(page) : nullptr;
      const u64 capacity = linux_abi::records_per_page<Record>;
      if (header == nullptr || header->nr_objects > capacity || count == max_pages_per_chain) {
        x_to.x_broken_chain = "a chain of IOMMU records is broken";
        return {};
      }
      for (u64 slot = 0; slot < header->nr_objects; ++slot) {
        const PhysAddr address = page + sizeof(linux_abi::ArrayHeader) + slot * sizeof(Record);
        const Record& record = *x_direct.at<Record>(address);
        if ((record.header.flags & linux_abi::flag_deleted) != 0) continue;
        x_touches.record();
        TRY(visit(address, record));
      }
      if (header->next == 0) return {};
      page = PhysAddr(header->next);
      TRY_ASSIGN(is_usable, take_page(page, pages));
    }
  }

  template <class Record>
  Status read_chain(Head head, EarlyList<PhysAddr>& pages, EarlyList<Record>& to) {
    return walk_chain<Record>(head, pages, [&](PhysAddr, const Record& record) -> Status {
      return to.append(x_direct, x_early, record).ok() ? Status() : Code::NoMemory;
    });
  }

  /// Copies records with what attests them. @p check(record, attest) -> reason.
  template <class Object, class Attest, class F>
  Status read_attested(Head head, EarlyList<Object>& to, const EarlyList<Attest>& attests, F&& check) {
    using Record = decltype(Object::record);
    AttestFinder finder(attests);
    return walk_chain<Record>(head, x_to.record_pages, [&](PhysAddr at, const Record& record) -> Status {
      Object object{};
      object.address = at;
      object.record = record;
      const Attest* attest = finder.find(at, record);
      object.reason = check_attested(record, attest);
      if (attest != nullptr) object.attest = *attest;
      if (object.reason.empty()) object.reason = check(record, object.attest);
      return to.append(x_direct, x_early, object).ok() ? Status() : Code::NoMemory;
    });
  }

  Status read_records() {
    TRY(read_attested(x_unit_head, x_to.units, x_to.unit_attests, check_unit));
    TRY(read_attested(x_domain_head, x_to.domains, x_domain_attests,
                      [&](const auto& record, const auto& attest) { return check_domain(record, attest); }));
    return read_attested(x_device_head, x_to.devices, x_device_attests, check_device);
  }

  std::string_view check_domain(const linux_abi::Domain& record, const abi::attest::DomainAttest& attest) const {
    const auto format = static_cast<pt::Format>(attest.format);
    if (!is_domain_format(format)) return "its table format is unknown";
    if (!is_table_mode(attest.table_mode)) return "its table mode is unknown";
    const bool in_arenas = attest.table_mode == static_cast<u32>(abi::attest::TableMode::Arena);
    if (in_arenas && x_version == linux_abi::version_pages) return "its table mode is not of this version";
    if (attest.levels < fewest_levels(format) || attest.levels > 5 || record.top_level != u64{attest.levels} - 1)
      return "its number of levels is impossible";
    if (record.vasz != attest.iova_bits || attest.iova_bits > widest_iova(format, attest.levels) ||
        attest.iova_bits <= 12)
      return "its width is impossible";
    if (record.sign_extend != 0 || record.restored_domain != 0 || !all_zero(record.padding) ||
        !all_zero(attest.padding))
      return "its record has unknown bits";
    const PhysAddr top(record.top_table_phys);
    if (top.value == 0 || !top.is_aligned(page_size_bytes) || !x_direct.is_ram(top, page_size_bytes))
      return "its top table is not memory";
    if (!(in_arenas ? x_map.find_block(top).has_value() : x_map.contains({top, 0})))
      return "its top table is not preserved";
    if (!in_arenas && (attest.block_list != 0 || attest.block_count != 0)) return "its block list is impossible";
    return {};
  }

  Incoming& x_to;
  const kho::IncomingMap& x_map;
  EarlyAllocator& x_early;
  const DirectMap& x_direct;
  TouchMeter& x_touches;
  u64 x_version = 0;
  linux_abi::IommuFlb x_flb{};
  abi::attest::Header x_attest{};
  Head x_unit_head, x_domain_head, x_device_head;
  Head x_unit_attest_head, x_domain_attest_head, x_device_attest_head, x_memfd_attest_head;
  EarlyList<abi::attest::DomainAttest> x_domain_attests;
  EarlyList<abi::attest::DeviceAttest> x_device_attests;
};

Result<Incoming::Found> Incoming::open(const kho::IncomingMap& incoming, EarlyAllocator& early) {
  return Reader(*this, incoming, early).read();
}

IncomingUnit* Incoming::find_unit(PhysAddr record) const {
  for (IncomingUnit& unit : units)
    if (unit.address == record) return &unit;
  return nullptr;
}

IncomingDomain* Incoming::find_domain(PhysAddr record) const {
  for (IncomingDomain& domain : domains)
    if (domain.address == record) return &domain;
  return nullptr;
}

IncomingDevice* Incoming::find_device(u16 segment, SourceId id) const {
  IncomingDevice* found = nullptr;
  for (IncomingDevice& device : devices) {
    if (device.record.pci_domain_nr != segment || device.record.devid != id.value) continue;
    if (device.is_adopted) return &device;
    if (found == nullptr) found = &device;
  }
  return found;
}

bool Incoming::was_attested(PhysAddr register_base) const {
  for (const abi::attest::UnitAttest& attest : unit_attests)
    if (attest.register_base == register_base.value) return true;
  return false;
}

}  // namespace holdfast::iommu
