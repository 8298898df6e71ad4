#include "tests/untrusted/record_map.hpp"

#include "sim/machine_config.hpp"
#include "tests/untrusted/decoder.hpp"

namespace untrusted {

const Cast& cast(u32 device) {
  static const Cast both[] = {
      {SourceId(0, 3, 0).value, "0000:00:03.0", sim::unit_address(0), "fed90000"},
      {SourceId(1, 0, 0).value, "0000:01:00.0", sim::unit_address(1), "fed91000"},
  };
  return both[device];
}

u32 device_of(u16 id) {
  for (u32 i = 0; i < 2; ++i)
    if (cast(i).id == id) return i;
  throw std::runtime_error("a record of a device that was not preserved");
}

u32 device_of_unit(u64 registers) {
  for (u32 i = 0; i < 2; ++i)
    if (cast(i).unit_registers.value == registers) return i;
  throw std::runtime_error("a record of a unit that is not there");
}

void Decoder::add_word(const About& about, const std::string& name, PhysAddr at, u64 size_bytes, Shape shape) {
  Field field;
  field.name = about.name + "." + name;
  field.at = at;
  field.size_bytes = size_bytes;
  field.shape = shape;
  field.family = about.family;
  field.may_lose = about.may_lose;
  field.who = about.who;
  field.repair = about.repair;
  field.sibling = about.sibling;
  x_map.fields.push_back(std::move(field));
}

/// Arrays of words become one field for each word.
void Decoder::add(const About& about, PhysAddr at, std::initializer_list<Layout> table) {
  for (const Layout& part : table) {
    if (part.shape == Shape::Text || part.size_bytes % 8 != 0 || part.size_bytes == 8) {
      add_word(about, part.name, at + part.offset, part.size_bytes, part.shape);
      continue;
    }
    for (u64 i = 0; i < part.size_bytes / 8; ++i)
      add_word(about, std::string(part.name) + "." + std::to_string(i), at + part.offset + 8 * i, 8, part.shape);
  }
}

Field& Decoder::find(const std::string& name) {
  for (Field& field : x_map.fields)
    if (field.name == name) return field;
  throw std::runtime_error("no field " + name);
}

RecordMap Decoder::read() {
  read_numbers();
  read_scratch();
  read_luo();
  read_attestation(x_attestation);
  read_iommu_flb(x_iommu_flb);
  for (u32 device = 0; device < 2; ++device) read_page_tables(device);
  read_radix();
  return std::move(x_map);
}

RecordMap read_records(const sim::GuestRam& ram, const Handover& handover, Mode mode) {
  return Decoder(ram, handover, mode).read();
}

}  // namespace untrusted
