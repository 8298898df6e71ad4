// LUO's tree, sessions, files and FLBs; the handlers' own records.
#include "holdfast/abi/attest.hpp"
#include "holdfast/abi/iommufd.hpp"
#include "holdfast/abi/kho.hpp"
#include "holdfast/abi/luo.hpp"
#include "holdfast/abi/memfd.hpp"
#include "holdfast/abi/pci.hpp"
#include "holdfast/abi/vfio.hpp"
#include "tests/untrusted/decoder.hpp"
#include "vmm/guest.hpp"

namespace untrusted {

namespace luo = abi::luo;

namespace {
constexpr const char* session_name = "holdfast-vmm";

template <std::size_t N>
std::string text_of(const char (&field)[N]) {
  return {field, strnlen(field, N)};
}
}  // namespace

void Decoder::read_luo() {
  const About in_root{.name = "root_fdt", .family = Family::Map};
  const PhysAddr tree(number_property(PhysAddr(x_handover.fdt), luo::subtree_name.data(), "preserved-data", in_root));
  read_fdt(tree, "luo_fdt", Family::Sessions);
  own_page(tree, "luo_fdt", loss::everything, "");
  const About in_tree{.name = "luo_fdt", .family = Family::Sessions};
  number_property(tree, nullptr, luo::number_property.data(), in_tree);
  About of_sessions = in_tree;
  of_sessions.may_lose = loss::files;
  read_flbs(PhysAddr(number_property(tree, luo::flb_node.data(), luo::flb_header_property.data(), in_tree)));
  read_session(
      PhysAddr(number_property(tree, luo::session_node.data(), luo::session_header_property.data(), of_sessions)));
}

void Decoder::read_flbs(PhysAddr block) {
  const About header{.name = "flb_header", .family = Family::Sessions};
  add(header, block, {UNTRUSTED_FIELD(luo::FlbHeader, page_count), UNTRUSTED_FIELD(luo::FlbHeader, count)});
  own_page(block, "flb_block", loss::everything, "");
  for (u64 i = 0; i < x_ram.at<luo::FlbHeader>(block).count; ++i) {
    const PhysAddr at = block + sizeof(luo::FlbHeader) + i * sizeof(luo::FlbRecord);
    const auto& record = x_ram.at<luo::FlbRecord>(at);
    const std::string name = text_of(record.name);
    About about{.name = "flb." + name, .family = Family::Sessions};
    about.sibling = PhysAddr(record.data) + page_size_bytes;
    if (name == abi::pci::compatible) about.may_lose = loss::claim0 | loss::claim1, about.who = "pci: |LUO: ";
    add(about, at,
        {UNTRUSTED_TEXT(luo::FlbRecord, name), UNTRUSTED_FIELD(luo::FlbRecord, data),
         UNTRUSTED_FIELD(luo::FlbRecord, count)});
    if (name == abi::iommu::compatible)
      x_iommu_flb = PhysAddr(record.data);
    else if (name == abi::attest::compatible)
      x_attestation = PhysAddr(record.data);
    else if (name == abi::pci::compatible)
      read_pci(PhysAddr(record.data));
    else
      throw std::runtime_error("an FLB that nobody knows: " + name);
  }
}

void Decoder::read_session(PhysAddr block) {
  // Without a session nobody owns the restored domains.
  About about{.name = "session_header", .family = Family::Sessions, .may_lose = loss::everything, .who = "LUO: "};
  add(about, block, {UNTRUSTED_FIELD(luo::SessionHeader, count)});
  own({block, page_size_bytes << luo::session_block_order}, "session_block", loss::files, "LUO: ");
  if (x_ram.at<luo::SessionHeader>(block).count != 1) throw std::runtime_error("there is not one session");
  const PhysAddr at = block + sizeof(luo::SessionHeader);
  const auto& session = x_ram.at<luo::SessionRecord>(at);
  about.name = "session";
  about.may_lose = loss::files;
  add(about, at,
      {UNTRUSTED_TEXT(luo::SessionRecord, name), UNTRUSTED_FIELD(luo::SessionRecord, file_set.files),
       UNTRUSTED_FIELD(luo::SessionRecord, file_set.count)});
  own({PhysAddr(session.file_set.files), page_size_bytes << luo::file_block_order}, "file_block", loss::files, "LUO: ");
  for (u64 i = 0; i < session.file_set.count; ++i)
    read_file(PhysAddr(session.file_set.files) + i * sizeof(luo::FileRecord), i);
}

void Decoder::read_file(PhysAddr at, u64 index) {
  const auto& file = x_ram.at<luo::FileRecord>(at);
  About about{.name = "file." + std::to_string(index), .family = Family::Sessions, .who = session_name};
  const std::string kind = text_of(file.compatible);
  const PhysAddr data(file.data);
  if (kind == abi::memfd::compatible) {
    const bool is_state = file.token == vmm::token::state;
    about.may_lose = is_state ? loss::state : loss::memory;
    read_memfd(data, is_state);
  } else if (kind == abi::iommufd::compatible) {
    about.may_lose = loss::claim0 | loss::claim1;
    read_iommufd(data);
  } else if (kind == abi::vfio::compatible) {
    about.may_lose = loss::claim(static_cast<u32>(file.token - vmm::token::first_device));
    read_vfio(data);
  } else {
    throw std::runtime_error("a file of unknown kind: " + kind);
  }
  // The neighbour's token and the neighbour's data: the other file may be lost with it.
  const auto& neighbour = x_ram.at<luo::FileRecord>(index == 0 ? at + sizeof file : at - sizeof file);
  about.sibling = PhysAddr(neighbour.data);
  add(about, at,
      {UNTRUSTED_TEXT(luo::FileRecord, compatible), UNTRUSTED_FIELD(luo::FileRecord, data),
       UNTRUSTED_FIELD(luo::FileRecord, token)});
  // Data or token of another file make the two of them one, and which of them it is cannot be known.
  for (const char* shared : {".data", ".token"}) find(about.name + shared).may_lose = loss::files;
}

void Decoder::read_memfd(PhysAddr at, bool is_state) {
  (is_state ? x_state_record : x_memory_record) = at;
  using Record = abi::memfd::MemfdRecord;
  const About about{.name = is_state ? "memfd.state" : "memfd.memory",
                    .family = Family::Files,
                    .may_lose = is_state ? loss::state : loss::memory,
                    .who = session_name};
  add(about, at,
      {UNTRUSTED_FIELD(Record, position), UNTRUSTED_FIELD(Record, size_bytes), UNTRUSTED_FIELD(Record, seals),
       UNTRUSTED_FIELD(Record, flags), UNTRUSTED_FIELD(Record, folio_count), UNTRUSTED_FIELD(Record, folios.first),
       UNTRUSTED_FIELD(Record, folios.total_pages), UNTRUSTED_FIELD(Record, folios.flags),
       UNTRUSTED_FIELD(Record, folios.order)});
  own_page(at, about.name, about.may_lose, session_name);
  read_folios(at, about, is_state);
}

void Decoder::read_folios(PhysAddr at, const About& about, bool is_state) {
  const auto record = x_ram.at<abi::memfd::MemfdRecord>(at);
  const PhysAddr chunk(record.folios.first);
  own_page(chunk, about.name + ".chunk", about.may_lose, session_name);
  About of_chunk = about;
  of_chunk.name += ".chunk";
  add_word(of_chunk, "next", chunk);
  if (record.folios.total_pages != 1) throw std::runtime_error("a folio list of more than one page");
  const PhysAddr list(x_ram.at<abi::memfd::VmallocChunk>(chunk).pages[0]);
  add_word(of_chunk, "pages.0", chunk + 8);
  add_word(of_chunk, "pages.1", chunk + 16);
  own_page(list, about.name + ".folios", about.may_lose, session_name);
  for (u64 i = 0; i < record.folio_count; ++i) {
    const PhysAddr folio = list + i * sizeof(abi::memfd::Folio);
    About of_folio = about;
    of_folio.name += ".folio." + std::to_string(i);
    add(of_folio, folio,
        {UNTRUSTED_FIELD(abi::memfd::Folio, frame_and_flags), UNTRUSTED_FIELD(abi::memfd::Folio, index)});
    const PhysAddr start = x_ram.at<abi::memfd::Folio>(folio).frame().address();
    const u64 next = i + 1 < record.folio_count ? x_ram.at<abi::memfd::Folio>(folio + sizeof(abi::memfd::Folio)).index
                                                : div_ceil(record.size_bytes, page_size_bytes);
    const u64 pages = next - x_ram.at<abi::memfd::Folio>(folio).index;
    // Tables that lead to memory which is not preserved are not believed either.
    own({start, pages * page_size_bytes}, about.name + ".contents",
        is_state ? loss::state : loss::memory | loss::devices, is_state ? session_name : "iommu: ");
  }
}

void Decoder::read_iommufd(PhysAddr at) {
  using Header = abi::iommufd::Header;
  using Hwpt = abi::iommufd::Hwpt;
  About about{.name = "iommufd",
              .family = Family::Files,
              .may_lose = loss::claim0 | loss::claim1,
              .who = session_name,
              .repair = [ram = x_ram, at] {
                auto& header = ram.at<Header>(at);
                const u64 bytes = sizeof(Header) + header.nr_hwpts * sizeof(Hwpt);
                if (header.nr_hwpts > page_size_bytes / sizeof(Hwpt)) return;
                header.checksum = abi::checksum({ram.bytes(at, bytes), bytes}, offsetof(Header, checksum));
              }};
  add(about, at,
      {UNTRUSTED_FIELD(Header, nr_hwpts), UNTRUSTED_FIELD(Header, flags), UNTRUSTED_FIELD(Header, checksum)});
  own_page(at, about.name, about.may_lose, session_name);
  for (u32 i = 0; i < x_ram.at<Header>(at).nr_hwpts; ++i) {
    const PhysAddr hwpt = at + sizeof(Header) + i * sizeof(Hwpt);
    about.name = "iommufd.hwpt." + std::to_string(i);
    about.sibling = PhysAddr(x_ram.at<Hwpt>(at + sizeof(Header) + (1 - i) * sizeof(Hwpt)).domain_phys);
    add(about, hwpt,
        {UNTRUSTED_FIELD(Hwpt, token), UNTRUSTED_FIELD(Hwpt, domain_phys), UNTRUSTED_FIELD(Hwpt, page_sizes)});
  }
}

void Decoder::read_vfio(PhysAddr at) {
  using Record = abi::vfio::Device;
  const u32 device = device_of(x_ram.at<Record>(at).bdf);
  const About about{.name = "vfio." + std::to_string(device),
                    .family = Family::Files,
                    .may_lose = loss::claim(device),
                    .who = session_name,
                    .repair = [ram = x_ram, at] { seal<Record>(ram, at); }};
  add(about, at,
      {UNTRUSTED_FIELD(Record, bdf), UNTRUSTED_FIELD(Record, segment), UNTRUSTED_FIELD(Record, has_iommufd),
       UNTRUSTED_FIELD(Record, is_attached), UNTRUSTED_FIELD(Record, padding), UNTRUSTED_FIELD(Record, iommufd_token),
       UNTRUSTED_FIELD(Record, hwpt_token), UNTRUSTED_FIELD(Record, domain_phys), UNTRUSTED_FIELD(Record, checksum)});
  own_page(at, about.name, about.may_lose, session_name);
}

void Decoder::read_pci(PhysAddr at) {
  using Header = abi::pci::Header;
  using Device = abi::pci::Device;
  About about{.name = "pci",
              .family = Family::Files,
              .may_lose = loss::claim0 | loss::claim1,
              .who = "pci: |LUO: ",
              .repair = [ram = x_ram, at] {
                auto& header = ram.at<Header>(at);
                const u64 bytes = sizeof(Header) + header.nr_devices * sizeof(Device);
                if (header.nr_devices > page_size_bytes / sizeof(Device)) return;
                header.checksum = abi::checksum({ram.bytes(at, bytes), bytes}, offsetof(Header, checksum));
              }};
  add(about, at,
      {UNTRUSTED_FIELD(Header, max_nr_devices), UNTRUSTED_FIELD(Header, nr_devices),
       UNTRUSTED_FIELD(Header, checksum)});
  own_page(at, about.name, about.may_lose, about.who);
  for (u64 i = 0; i < x_ram.at<Header>(at).nr_devices; ++i) {
    const PhysAddr record = at + sizeof(Header) + i * sizeof(Device);
    const u16 id = x_ram.at<Device>(record).bdf;
    about.name = id == cast(0).id ? "pci.0" : id == cast(1).id ? "pci.1" : "pci.bridge";
    add(about, record,
        {UNTRUSTED_FIELD(Device, segment), UNTRUSTED_FIELD(Device, bdf), UNTRUSTED_FIELD(Device, reserved),
         UNTRUSTED_FIELD(Device, ref_count), UNTRUSTED_FIELD(Device, vendor), UNTRUSTED_FIELD(Device, device),
         UNTRUSTED_FIELD(Device, class_revision), UNTRUSTED_FIELD(Device, reserved2),
         UNTRUSTED_FIELD(Device, bar_bytes)});
  }
}

}  // namespace untrusted
