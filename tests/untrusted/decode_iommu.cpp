// The records of "iommu-liveupdate" and the attestation.
#include "holdfast/abi/attest.hpp"
#include "holdfast/abi/iommu.hpp"
#include "tests/untrusted/decoder.hpp"

namespace untrusted {

namespace records = abi::iommu;
namespace attest = abi::attest;

namespace {

/// Where the attestation of the record stands; 0 when there is none.
template <class Attest>
PhysAddr attest_of(const Ram& ram, const std::vector<PhysAddr>& attests, PhysAddr record) {
  for (const PhysAddr at : attests)
    if (ram.at<Attest>(at).record_phys == record.value) return at;
  throw std::runtime_error("a record without attestation");
}

/// The attested checksum of the record, then that of the attestation.
template <class Record, class Attest>
std::function<void()> reseal(const Ram& ram, PhysAddr record, PhysAddr at) {
  return [ram, record, at] {
    ram.at<Attest>(at).record_checksum = abi::checksum_of_all(ram.at<Record>(record));
    seal<Attest>(ram, at);
  };
}

}  // namespace

template <class Record>
std::vector<PhysAddr> Decoder::read_chain(PhysAddr page, const About& about) {
  const auto& header = x_ram.at<records::ArrayHeader>(page);
  if (header.next != 0) throw std::runtime_error("a chain of more than one page");
  add(about, page, {UNTRUSTED_FIELD(records::ArrayHeader, next), UNTRUSTED_FIELD(records::ArrayHeader, nr_objects)});
  own_page(page, about.name, loss::everything, "iommu: ");
  std::vector<PhysAddr> found;
  for (u64 i = 0; i < header.nr_objects; ++i) found.push_back(page + sizeof header + i * sizeof(Record));
  return found;
}

u32 Decoder::device_of_domain(PhysAddr record) const {
  for (const PhysAddr at : x_devices) {
    const auto& device = x_ram.at<records::Device>(at);
    if (device.domain_iommu.domain_phys == record.value) return device_of(static_cast<u16>(device.devid));
  }
  throw std::runtime_error("a domain without device");
}

void Decoder::read_iommu_flb(PhysAddr page) {
  const About about{.name = "iommu_flb", .family = Family::Records, .who = "iommu: "};
  add(about, page,
      {UNTRUSTED_FIELD(records::IommuFlb, version), UNTRUSTED_FIELD(records::IommuFlb, unit_array),
       UNTRUSTED_FIELD(records::IommuFlb, domain_array), UNTRUSTED_FIELD(records::IommuFlb, device_array)});
  for (u32 i = 0; i < x_units.size(); ++i) read_unit(x_units[i], i);
  for (u32 i = 0; i < x_domains.size(); ++i) read_domain(x_domains[i], i);
  for (u32 i = 0; i < x_devices.size(); ++i) read_device(x_devices[i], i);
}

void Decoder::read_unit(PhysAddr at, u32 index) {
  using Unit = records::Unit;
  const u32 device = device_of_unit(x_ram.at<Unit>(at).token);
  const PhysAddr attested = attest_of<attest::UnitAttest>(x_ram, x_unit_attests, at);
  const About about{.name = "unit." + std::to_string(index),
                    .family = Family::Records,
                    .may_lose = loss::device(device),
                    .who = cast(device).unit_name + "|" + cast(device).name,
                    .repair = reseal<Unit, attest::UnitAttest>(x_ram, at, attested),
                    .sibling = x_units[1 - index]};
  add(about, at,
      {UNTRUSTED_FIELD(Unit, header.ref_count), UNTRUSTED_FIELD(Unit, header.flags), UNTRUSTED_FIELD(Unit, token),
       UNTRUSTED_FIELD(Unit, type), UNTRUSTED_FIELD(Unit, intel.restored), UNTRUSTED_FIELD(Unit, intel.padding),
       UNTRUSTED_FIELD(Unit, intel.phys_addr), UNTRUSTED_FIELD(Unit, intel.root_table),
       UNTRUSTED_FIELD(Unit, intel.context_tables_bitmap)});
  find(about.name + ".intel.root_table").twin = attested + offsetof(attest::UnitAttest, root_table);
  find(about.name + ".token").twin = attested + offsetof(attest::UnitAttest, register_base);
  read_root(PhysAddr(x_ram.at<Unit>(at).intel.root_table), device);
}

void Decoder::read_domain(PhysAddr at, u32 index) {
  using Domain = records::Domain;
  const u32 device = device_of_domain(at);
  const PhysAddr attested = attest_of<attest::DomainAttest>(x_ram, x_domain_attests, at);
  const About about{.name = "domain." + std::to_string(index),
                    .family = Family::Records,
                    .may_lose = loss::device(device),
                    .who = cast(device).name,
                    .repair = reseal<Domain, attest::DomainAttest>(x_ram, at, attested),
                    .sibling = PhysAddr(x_ram.at<Domain>(x_domains[1 - index]).top_table_phys)};
  add(about, at,
      {UNTRUSTED_FIELD(Domain, header.ref_count), UNTRUSTED_FIELD(Domain, header.flags),
       UNTRUSTED_FIELD(Domain, top_table_phys), UNTRUSTED_FIELD(Domain, top_level), UNTRUSTED_FIELD(Domain, vasz),
       UNTRUSTED_FIELD(Domain, sign_extend), UNTRUSTED_FIELD(Domain, padding),
       UNTRUSTED_FIELD(Domain, restored_domain)});
}

void Decoder::read_device(PhysAddr at, u32 index) {
  using Device = records::Device;
  const auto& record = x_ram.at<Device>(at);
  const u32 device = device_of(static_cast<u16>(record.devid));
  const PhysAddr attested = attest_of<attest::DeviceAttest>(x_ram, x_device_attests, at);
  About about{.name = "device." + std::to_string(index),
              .family = Family::Records,
              .may_lose = loss::device(device),
              .who = cast(device).name,
              .repair = reseal<Device, attest::DeviceAttest>(x_ram, at, attested)};
  const auto& other = x_ram.at<Device>(x_devices[1 - index]);
  add(about, at,
      {UNTRUSTED_FIELD(Device, header.ref_count), UNTRUSTED_FIELD(Device, header.flags), UNTRUSTED_FIELD(Device, devid),
       UNTRUSTED_FIELD(Device, pci_domain_nr), UNTRUSTED_FIELD(Device, dma_owner_token),
       UNTRUSTED_FIELD(Device, domain_iommu.attachment_id)});
  find(about.name + ".dma_owner_token").who += "|LUO: ";  // the file of another owner is refused
  about.sibling = PhysAddr(other.domain_iommu.domain_phys);
  add(about, at, {UNTRUSTED_FIELD(Device, domain_iommu.domain_phys)});
  about.sibling = PhysAddr(other.domain_iommu.iommu_phys);
  add(about, at, {UNTRUSTED_FIELD(Device, domain_iommu.iommu_phys)});
  about.sibling = PhysAddr(other.intel.pasid_table);
  add(about, at,
      {UNTRUSTED_FIELD(Device, intel.restored), UNTRUSTED_FIELD(Device, intel.padding),
       UNTRUSTED_FIELD(Device, intel.pasid_table), UNTRUSTED_FIELD(Device, intel.max_pasid)});
  find(about.name + ".devid").twin = attested + offsetof(attest::DeviceAttest, devid);
  find(about.name + ".pci_domain_nr").twin = attested + offsetof(attest::DeviceAttest, pci_domain_nr);
}

void Decoder::read_attestation(PhysAddr page) {
  using Header = attest::Header;
  const auto& header = x_ram.at<Header>(page);
  const About about{.name = "attestation",
                    .family = Family::Attestation,
                    .who = "iommu: ",
                    .repair = [ram = x_ram, page] { seal<Header>(ram, page); },
                    .sibling = PhysAddr(header.unit_array)};
  add(about, page,
      {UNTRUSTED_FIELD(Header, magic), UNTRUSTED_FIELD(Header, version), UNTRUSTED_FIELD(Header, size),
       UNTRUSTED_FIELD(Header, generation), UNTRUSTED_FIELD(Header, unit_array), UNTRUSTED_FIELD(Header, domain_array),
       UNTRUSTED_FIELD(Header, device_array), UNTRUSTED_FIELD(Header, memfd_array), UNTRUSTED_FIELD(Header, table_mode),
       UNTRUSTED_FIELD(Header, reserved), UNTRUSTED_FIELD(Header, checksum)});
  own_page(page, about.name, loss::everything, "iommu: ");
  const auto chain = [](const std::string& name, Family family) {
    return About{.name = name, .family = family, .who = "iommu: "};
  };
  x_unit_attests =
      read_chain<attest::UnitAttest>(PhysAddr(header.unit_array), chain("unit_attests", Family::Attestation));
  x_domain_attests =
      read_chain<attest::DomainAttest>(PhysAddr(header.domain_array), chain("domain_attests", Family::Attestation));
  x_device_attests =
      read_chain<attest::DeviceAttest>(PhysAddr(header.device_array), chain("device_attests", Family::Attestation));
  About of_memfds = chain("memfd_attests", Family::Attestation);
  of_memfds.who += "|LUO: ";
  const auto memfds = read_chain<attest::MemfdAttest>(PhysAddr(header.memfd_array), of_memfds);

  const auto& flb = x_ram.at<records::IommuFlb>(x_iommu_flb);
  own_page(x_iommu_flb, "iommu_flb", loss::everything, "iommu: ");
  x_units = read_chain<records::Unit>(PhysAddr(flb.unit_array), chain("units", Family::Records));
  x_domains = read_chain<records::Domain>(PhysAddr(flb.domain_array), chain("domains", Family::Records));
  x_devices = read_chain<records::Device>(PhysAddr(flb.device_array), chain("devices", Family::Records));
  if (x_units.size() != 2 || x_domains.size() != 2 || x_devices.size() != 2 || memfds.size() != 2)
    throw std::runtime_error("the scene has other records than it should");

  for (u32 i = 0; i < x_unit_attests.size(); ++i) read_unit_attest(x_unit_attests[i], i);
  for (u32 i = 0; i < x_domain_attests.size(); ++i) read_domain_attest(x_domain_attests[i], i);
  for (u32 i = 0; i < x_device_attests.size(); ++i) read_device_attest(x_device_attests[i], i);
  for (u32 i = 0; i < memfds.size(); ++i) read_memfd_attest(memfds[i], i);
}

void Decoder::read_unit_attest(PhysAddr at, u32 index) {
  using Unit = attest::UnitAttest;
  const u32 device = device_of_unit(x_ram.at<Unit>(at).register_base);
  const About about{.name = "unit_attest." + std::to_string(index),
                    .family = Family::Attestation,
                    .may_lose = loss::device(device),
                    .who = cast(device).unit_name + "|" + cast(device).name,
                    .repair = [ram = x_ram, at] { seal<Unit>(ram, at); },
                    .sibling = PhysAddr(x_ram.at<Unit>(x_unit_attests[1 - index]).record_phys)};
  add(about, at,
      {UNTRUSTED_FIELD(Unit, header.ref_count), UNTRUSTED_FIELD(Unit, header.flags), UNTRUSTED_FIELD(Unit, record_phys),
       UNTRUSTED_FIELD(Unit, record_checksum), UNTRUSTED_FIELD(Unit, register_base), UNTRUSTED_FIELD(Unit, capability),
       UNTRUSTED_FIELD(Unit, extended_capability), UNTRUSTED_FIELD(Unit, root_table), UNTRUSTED_FIELD(Unit, page_sizes),
       UNTRUSTED_FIELD(Unit, domain_ids), UNTRUSTED_FIELD(Unit, scalable), UNTRUSTED_FIELD(Unit, iova_bits),
       UNTRUSTED_FIELD(Unit, levels_mask), UNTRUSTED_FIELD(Unit, coherent), UNTRUSTED_FIELD(Unit, checksum)});
}

void Decoder::read_domain_attest(PhysAddr at, u32 index) {
  using Domain = attest::DomainAttest;
  const auto& domain = x_ram.at<Domain>(at);
  const u32 device = device_of_domain(PhysAddr(domain.record_phys));
  About about{.name = "domain_attest." + std::to_string(index),
              .family = Family::Attestation,
              .may_lose = loss::device(device),
              .who = cast(device).name,
              .repair = [ram = x_ram, at] { seal<Domain>(ram, at); },
              .sibling = PhysAddr(x_ram.at<Domain>(x_domain_attests[1 - index]).record_phys)};
  add(about, at,
      {UNTRUSTED_FIELD(Domain, header.ref_count), UNTRUSTED_FIELD(Domain, header.flags),
       UNTRUSTED_FIELD(Domain, record_phys), UNTRUSTED_FIELD(Domain, record_checksum), UNTRUSTED_FIELD(Domain, format),
       UNTRUSTED_FIELD(Domain, table_mode), UNTRUSTED_FIELD(Domain, levels), UNTRUSTED_FIELD(Domain, iova_bits),
       UNTRUSTED_FIELD(Domain, padding), UNTRUSTED_FIELD(Domain, block_count), UNTRUSTED_FIELD(Domain, table_count),
       UNTRUSTED_FIELD(Domain, checksum_root), UNTRUSTED_FIELD(Domain, checksum)});
  about.sibling = PhysAddr(x_ram.at<Domain>(x_domain_attests[1 - index]).block_list);
  add(about, at, {UNTRUSTED_FIELD(Domain, block_list)});
  if (domain.block_list != 0) read_block_list(PhysAddr(domain.block_list), device);
}

void Decoder::read_block_list(PhysAddr page, u32 device) {
  using Page = attest::BlockListPage;
  const auto& list = x_ram.at<Page>(page);
  if (list.next != 0) throw std::runtime_error("a block list of more than one page");
  About about{.name = "block_list." + std::to_string(device),
              .family = Family::Attestation,
              .may_lose = loss::device(device),
              .who = cast(device).name,
              .repair = [ram = x_ram, page] { seal<Page>(ram, page); }};
  own_page(page, about.name, loss::device(device), cast(device).name);
  add(about, page,
      {UNTRUSTED_FIELD(Page, next), UNTRUSTED_FIELD(Page, nr_blocks), UNTRUSTED_FIELD(Page, checksum),
       UNTRUSTED_FIELD(Page, reserved)});
  for (u64 i = 0; i < list.nr_blocks; ++i) {
    const PhysAddr at = page + offsetof(Page, blocks) + i * sizeof(attest::BlockEntry);
    own({PhysAddr(list.blocks[i].phys), page_size_bytes << list.blocks[i].order},
        "table_block." + std::to_string(device), loss::device(device), cast(device).name);
    add_word(about, "blocks." + std::to_string(i) + ".phys", at);
    add_word(about, "blocks." + std::to_string(i) + ".order", at + 8);
  }
  add_word(about, "blocks.behind_the_last",
           page + offsetof(Page, blocks) + list.nr_blocks * sizeof(attest::BlockEntry));
}

void Decoder::read_device_attest(PhysAddr at, u32 index) {
  using Device = attest::DeviceAttest;
  const u32 device = device_of(static_cast<u16>(x_ram.at<Device>(at).devid));
  const About about{.name = "device_attest." + std::to_string(index),
                    .family = Family::Attestation,
                    .may_lose = loss::device(device),
                    .who = cast(device).name,
                    .repair = [ram = x_ram, at] { seal<Device>(ram, at); },
                    .sibling = PhysAddr(x_ram.at<Device>(x_device_attests[1 - index]).record_phys)};
  add(about, at,
      {UNTRUSTED_FIELD(Device, header.ref_count), UNTRUSTED_FIELD(Device, header.flags),
       UNTRUSTED_FIELD(Device, record_phys), UNTRUSTED_FIELD(Device, record_checksum), UNTRUSTED_FIELD(Device, devid),
       UNTRUSTED_FIELD(Device, pci_domain_nr), UNTRUSTED_FIELD(Device, vendor), UNTRUSTED_FIELD(Device, device),
       UNTRUSTED_FIELD(Device, class_revision), UNTRUSTED_FIELD(Device, live_entry),
       UNTRUSTED_FIELD(Device, checksum)});
}

void Decoder::read_memfd_attest(PhysAddr at, u32 index) {
  using Memfd = attest::MemfdAttest;
  const bool is_state = x_ram.at<Memfd>(at).record_phys == x_state_record.value;
  const About about{.name = "memfd_attest." + std::to_string(index),
                    .family = Family::Attestation,
                    .may_lose = is_state ? loss::state : loss::memory,
                    .who = "LUO: ",
                    .repair = [ram = x_ram, at] { seal<Memfd>(ram, at); },
                    .sibling = is_state ? x_memory_record : x_state_record};
  add(about, at,
      {UNTRUSTED_FIELD(Memfd, header.ref_count), UNTRUSTED_FIELD(Memfd, header.flags),
       UNTRUSTED_FIELD(Memfd, record_phys), UNTRUSTED_FIELD(Memfd, open_flags), UNTRUSTED_FIELD(Memfd, mode),
       UNTRUSTED_FIELD(Memfd, checksum)});
}

}  // namespace untrusted
