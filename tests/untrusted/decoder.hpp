// Decoder: what the parts of the record map share. Each read_*() adds the fields and owners of one part.
#pragma once

#include <cstddef>

#include "holdfast/base/checked.hpp"
#include "tests/untrusted/record_map.hpp"

namespace untrusted {

/// One field of a structure, as a table lists it.
struct Layout {
  const char* name;
  u64 offset;
  u64 size_bytes;
  Shape shape = Shape::Number;
};
#define UNTRUSTED_FIELD(T, f) \
  untrusted::Layout { #f, offsetof(T, f), sizeof(static_cast<T*>(nullptr)->f) }
#define UNTRUSTED_TEXT(T, f) \
  untrusted::Layout { #f, offsetof(T, f), sizeof(static_cast<T*>(nullptr)->f), untrusted::Shape::Text }

/// What all fields of one record have in common.
struct About {
  std::string name;
  Family family{};
  Loss may_lose = loss::everything;
  std::string who{};
  std::function<void()> repair{};
  PhysAddr sibling{};
};

class Decoder {
 public:
  Decoder(const sim::GuestRam& ram, const Handover& handover, Mode mode)
      : x_ram(ram), x_handover(handover), x_mode(mode) {}
  RecordMap read();

 private:
  struct DomainTables {
    PhysAddr record;
    PhysAddr attest;
  };

  // decode_map.cpp
  void read_numbers();
  void read_scratch();
  void read_fdt(PhysAddr fdt, const std::string& name, Family family);
  u64 number_property(PhysAddr fdt, const char* node, const char* property, const About& about);
  void read_radix();
  void read_node(PhysAddr page, unsigned level, u64 prefix, PhysAddr sibling);
  void read_bitmap(PhysAddr page, u64 prefix);
  const Owner* owner_of(Block block) const;
  // decode_sessions.cpp
  void read_luo();
  void read_session(PhysAddr block);
  void read_file(PhysAddr record, u64 index);
  void read_flbs(PhysAddr block);
  void read_memfd(PhysAddr record, bool is_state);
  void read_folios(PhysAddr record, const About& about, bool is_state);
  void read_iommufd(PhysAddr record);
  void read_vfio(PhysAddr record);
  void read_pci(PhysAddr record);
  // decode_iommu.cpp
  void read_iommu_flb(PhysAddr page);
  void read_unit(PhysAddr record, u32 index);
  void read_domain(PhysAddr record, u32 index);
  void read_device(PhysAddr record, u32 index);
  void read_attestation(PhysAddr page);
  void read_unit_attest(PhysAddr attest, u32 index);
  void read_domain_attest(PhysAddr attest, u32 index);
  void read_device_attest(PhysAddr attest, u32 index);
  void read_memfd_attest(PhysAddr attest, u32 index);
  void read_block_list(PhysAddr page, u32 device);
  /// The records of a chain; adds the array's own fields.
  template <class Record>
  std::vector<PhysAddr> read_chain(PhysAddr page, const About& about);
  // decode_hardware.cpp
  void read_root(PhysAddr root, u32 device);
  void read_context(PhysAddr table, u32 device);
  void read_pasid(PhysAddr directory, u32 device);
  void read_page_tables(u32 device);
  void read_table(PhysAddr table, unsigned level, u32 device, const std::string& path);

  void add(const About& about, PhysAddr at, std::initializer_list<Layout> table);
  void add_word(const About& about, const std::string& name, PhysAddr at, u64 size_bytes = 8,
                Shape shape = Shape::Number);
  void own(PhysRange range, const std::string& what, Loss may_lose, const std::string& who) {
    x_map.owners.push_back({range, what, may_lose, who});
  }
  void own_page(PhysAddr page, const std::string& what, Loss may_lose, const std::string& who) {
    own({page, page_size_bytes}, what, may_lose, who);
  }
  [[nodiscard]] u32 device_of_domain(PhysAddr record) const;
  Field& find(const std::string& name);

  Ram x_ram;
  Handover x_handover;
  Mode x_mode;
  RecordMap x_map;
  PhysAddr x_iommu_flb, x_attestation;
  std::vector<PhysAddr> x_units, x_domains, x_devices;  // records
  std::vector<PhysAddr> x_domain_attests, x_device_attests, x_unit_attests;
  PhysAddr x_memory_record, x_state_record;
  unsigned x_nodes = 0;
  unsigned x_bitmaps = 0;
};

/// Makes the checksum inside the record right.
template <class Record>
void seal(const Ram& ram, PhysAddr at) {
  Record& record = ram.at<Record>(at);
  record.checksum = abi::checksum_of(record);
}

}  // namespace untrusted
