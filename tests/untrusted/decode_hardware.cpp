// What the units walk: root, context and PASID entries, page tables.
#include "holdfast/abi/attest.hpp"
#include "holdfast/abi/iommu.hpp"
#include "holdfast/hw/vtd/entries.hpp"
#include "holdfast/pt/digest.hpp"
#include "holdfast/pt/vtd_second_stage.hpp"
#include "tests/untrusted/decoder.hpp"

namespace untrusted {

namespace records = abi::iommu;
namespace attest = abi::attest;

namespace {

constexpr u64 present = 1;
constexpr u64 ss_page_size = u64{1} << 7;
constexpr u64 ss_address = ((u64{1} << 52) - 1) & ~(page_size_bytes - 1);

constexpr PhysAddr pointer(u64 entry) { return PhysAddr(entry & ss_address); }
constexpr bool leads_to_table(u64 entry, u64 level) { return entry != 0 && level != 0 && (entry & ss_page_size) == 0; }

/// Number of tables and sum of their digests, as the tables are now.
struct TableSum {
  const Ram& ram;
  std::vector<PhysAddr> met;
  u64 sum = 0;

  void collect(PhysAddr table, u64 level) {
    if (!ram.contains(table, page_size_bytes) || std::find(met.begin(), met.end(), table) != met.end()) return;
    met.push_back(table);
    const u64* words = &ram.at<u64>(table);
    sum += pt::table_digest<pt::VtdSecondStage>(table, static_cast<unsigned>(level), {words, 512});
    for (u64 i = 0; i < 512; ++i)
      if (leads_to_table(words[i], level)) collect(pointer(words[i]), level - 1);
  }
};

}  // namespace

void Decoder::read_root(PhysAddr root, u32 device) {
  const About about{.name = "root." + std::to_string(device),
                    .family = Family::LiveEntries,
                    .may_lose = loss::device(device),
                    .who = cast(device).unit_name + "|" + cast(device).name};
  own_page(root, about.name, about.may_lose, about.who);
  const u64 bus = u64{cast(device).id} >> 8;
  const u64 half = x_mode == Mode::Scalable && (cast(device).id & 0x80) != 0 ? 1 : 0;
  const u64 words[] = {2 * bus + half, 2 * bus + 1 - half, 2 * bus + 6};
  for (const u64 word : words) add_word(about, "word" + std::to_string(word), root + 8 * word);
  for (u64 word = 0; word < 512; ++word) {
    const u64 entry = x_ram.at<u64>(root + 8 * word);
    if ((entry & present) == 0) continue;
    own_page(pointer(entry), "context_table." + std::to_string(device), about.may_lose, about.who);
    if (word == 2 * bus + half) read_context(pointer(entry), device);
  }
}

void Decoder::read_context(PhysAddr table, u32 device) {
  const u64 bytes = x_mode == Mode::Scalable ? 32 : 16;
  const PhysAddr at = table + bytes * (cast(device).id & (x_mode == Mode::Scalable ? 0x7fu : 0xffu));
  About about{.name = "context." + std::to_string(device),
              .family = Family::LiveEntries,
              .may_lose = loss::device(device),
              .who = cast(device).name};
  PhysAddr attested;
  for (const PhysAddr candidate : x_device_attests)
    if (x_ram.at<attest::DeviceAttest>(candidate).devid == cast(device).id) attested = candidate;
  if (x_mode == Mode::Legacy) {
    about.repair = [ram = x_ram, attested] { seal<attest::DeviceAttest>(ram, attested); };
    for (const PhysAddr record : x_domains)
      if (device_of_domain(record) != device)
        about.sibling = PhysAddr(x_ram.at<records::Domain>(record).top_table_phys);
  }
  for (u64 word = 0; word < bytes / 8; ++word) {
    add_word(about, "word" + std::to_string(word), at + 8 * word);
    if (x_mode == Mode::Legacy)
      x_map.fields.back().twin = attested + offsetof(attest::DeviceAttest, live_entry) + 8 * word;
  }
  const u64 stray = cast(device).id == cast(0).id ? 0x48 : 0x10;  // an entry that nobody recorded
  add_word(about, "stray", table + bytes * stray);
  x_map.fields.back().repair = {};
  x_map.fields.back().may_lose = loss::nothing;
  x_map.fields.back().who = "iommu: blocked";
  if (x_mode == Mode::Scalable) read_pasid(pointer(x_ram.at<u64>(at)), device);
}

void Decoder::read_pasid(PhysAddr directory, u32 device) {
  About about{.name = "pasid_directory." + std::to_string(device),
              .family = Family::LiveEntries,
              .may_lose = loss::device(device),
              .who = cast(device).name};
  own_page(directory, about.name, loss::device(device), cast(device).name);
  add_word(about, "word0", directory);
  add_word(about, "word1", directory + 8);
  const PhysAddr table = pointer(x_ram.at<u64>(directory));
  own_page(table, "pasid_table." + std::to_string(device), loss::device(device), cast(device).name);
  PhysAddr attested;
  for (const PhysAddr candidate : x_device_attests)
    if (x_ram.at<attest::DeviceAttest>(candidate).devid == cast(device).id) attested = candidate;
  about.name = "pasid_entry." + std::to_string(device);
  about.repair = [ram = x_ram, attested] { seal<attest::DeviceAttest>(ram, attested); };
  for (const PhysAddr record : x_domains)
    if (device_of_domain(record) != device) about.sibling = PhysAddr(x_ram.at<records::Domain>(record).top_table_phys);
  for (u64 word = 0; word < 8; ++word) {
    add_word(about, "word" + std::to_string(word), table + 8 * word);
    x_map.fields.back().twin = attested + offsetof(attest::DeviceAttest, live_entry) + 8 * word;
  }
  about.repair = {};
  add_word(about, "of_pasid_1", table + 64);
}

void Decoder::read_page_tables(u32 device) {
  for (const PhysAddr record : x_domains) {
    if (device_of_domain(record) != device) continue;
    const auto& domain = x_ram.at<records::Domain>(record);
    read_table(PhysAddr(domain.top_table_phys), static_cast<unsigned>(domain.top_level), device, "");
  }
}

/// The used entries of one table (of many leaves only the first and the last), and one that is not used.
void Decoder::read_table(PhysAddr table, unsigned level, u32 device, const std::string& path) {
  About about{.name = "table." + std::to_string(device) + path + ".level" + std::to_string(level),
              .family = Family::PageTables,
              .may_lose = loss::device(device),
              .who = cast(device).name};
  own_page(table, "table." + std::to_string(device), loss::device(device), cast(device).name);
  PhysAddr record, attested, other_top;
  for (const PhysAddr domain : x_domains) {
    if (device_of_domain(domain) == device)
      record = domain;
    else
      other_top = PhysAddr(x_ram.at<records::Domain>(domain).top_table_phys);
  }
  for (const PhysAddr candidate : x_domain_attests)
    if (x_ram.at<attest::DomainAttest>(candidate).record_phys == record.value) attested = candidate;
  about.sibling = other_top;
  about.repair = [ram = x_ram, record, attested] {
    const auto& domain = ram.at<records::Domain>(record);
    TableSum tables{ram, {}, 0};
    tables.collect(PhysAddr(domain.top_table_phys), domain.top_level);
    auto& attestation = ram.at<attest::DomainAttest>(attested);
    attestation.table_count = tables.met.size();
    attestation.checksum_root = tables.sum;
    seal<attest::DomainAttest>(ram, attested);
  };
  std::vector<u64> used;
  u64 unused = 512;
  for (u64 i = 0; i < 512; ++i) {
    if (x_ram.at<u64>(table + 8 * i) != 0)
      used.push_back(i);
    else
      unused = i;
  }
  for (const u64 i : used) {
    const bool shown = level != 0 || i == used.front() || i == used.back();
    if (shown) add_word(about, "entry" + std::to_string(i), table + 8 * i);
    const u64 entry = x_ram.at<u64>(table + 8 * i);
    if (leads_to_table(entry, level)) read_table(pointer(entry), level - 1, device, path + "." + std::to_string(i));
  }
  if (unused < 512) add_word(about, "unused" + std::to_string(unused), table + 8 * unused);
}

}  // namespace untrusted
