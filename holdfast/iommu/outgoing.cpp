// Outgoing: see outgoing.hpp.
#include "holdfast/iommu/outgoing.hpp"

#include "holdfast/iommu/undo.hpp"

namespace holdfast::iommu {
namespace {

constexpr abi::attest::TableMode to_abi(TableMode mode) {
  return mode == TableMode::Arena ? abi::attest::TableMode::Arena : abi::attest::TableMode::Page;
}

u64 hash_page(const Memory& memory, PhysAddr page, u64 hash) {
  return abi::checksum_add(hash ^ page.value, abi::checksum({memory.map.bytes(page), page_size_bytes}, ~u64{0}));
}

}  // namespace

Outgoing::Outgoing(Memory& memory, kho::Handover& handover)
    : units(memory, handover),
      domains(memory, handover),
      devices(memory, handover),
      unit_attests(memory, handover),
      domain_attests(memory, handover),
      device_attests(memory, handover),
      memfd_attests(memory, handover),
      x_memory(memory),
      x_handover(handover) {}

Result<PhysAddr> Outgoing::open_records(u64 version) {
  verify_invariant(!has_records(), "the IOMMU records are open already");
  TRY_ASSIGN(const PhysAddr page, x_handover.alloc_preserve(page_size_bytes));
  Undo undo_page([&] { x_handover.unpreserve_free(page, page_size_bytes); });
  TRY(units.open());
  Undo undo_units([&] { units.close(); });
  TRY(domains.open());
  Undo undo_domains([&] { domains.close(); });
  TRY(devices.open());

  auto& header = *x_memory.map.at<abi::iommu::IommuFlb>(page);
  header.version = version;
  header.unit_array = units.head().value;
  header.domain_array = domains.head().value;
  header.device_array = devices.head().value;
  undo_domains.keep();
  undo_units.keep();
  undo_page.keep();
  x_records = page;
  return page;
}

void Outgoing::close_records() {
  devices.close();
  domains.close();
  units.close();
  x_handover.unpreserve_free(x_records, page_size_bytes);
  x_records = PhysAddr();
}

Result<PhysAddr> Outgoing::open_attest(TableMode mode) {
  verify_invariant(!has_attest(), "the attestation is open already");
  TRY_ASSIGN(const PhysAddr page, x_handover.alloc_preserve(page_size_bytes));
  Undo undo_page([&] { x_handover.unpreserve_free(page, page_size_bytes); });
  TRY(unit_attests.open());
  Undo undo_units([&] { unit_attests.close(); });
  TRY(domain_attests.open());
  Undo undo_domains([&] { domain_attests.close(); });
  TRY(device_attests.open());
  Undo undo_devices([&] { device_attests.close(); });
  TRY(memfd_attests.open());

  undo_devices.keep();
  undo_domains.keep();
  undo_units.keep();
  undo_page.keep();
  x_attest = page;
  auto& header = attest_header();
  header.magic = abi::attest::magic;
  header.version = abi::attest::version;
  header.size = sizeof(abi::attest::Header);
  header.unit_array = unit_attests.head().value;
  header.domain_array = domain_attests.head().value;
  header.device_array = device_attests.head().value;
  header.memfd_array = memfd_attests.head().value;
  header.table_mode = static_cast<u32>(to_abi(mode));
  set_generation(0);
  return page;
}

void Outgoing::close_attest() {
  memfd_attests.close();
  device_attests.close();
  domain_attests.close();
  unit_attests.close();
  x_handover.unpreserve_free(x_attest, page_size_bytes);
  x_attest = PhysAddr();
}

void Outgoing::set_generation(u64 generation) {
  auto& header = attest_header();
  header.generation = generation;
  header.checksum = abi::checksum_of(header);
}

Result<PhysAddr> Outgoing::write_block_list(std::span<const Block> blocks) {
  using Page = abi::attest::BlockListPage;
  PhysAddr first;
  Undo undo([&] { free_block_list(first); });
  // From the end, so that each page knows the next one.
  u64 left = blocks.size();
  while (left != 0) {
    const u64 start = (left - 1) / abi::attest::blocks_per_page * abi::attest::blocks_per_page;
    TRY_ASSIGN(const PhysAddr address, x_handover.alloc_preserve(page_size_bytes));
    auto& page = *x_memory.map.at<Page>(address);
    page.next = first.value;
    page.nr_blocks = left - start;
    for (u64 i = start; i < left; ++i) page.blocks[i - start] = {blocks[i].start.value, blocks[i].order};
    page.checksum = abi::checksum_of(page);
    first = address;
    left = start;
  }
  undo.keep();
  return first;
}

void Outgoing::free_block_list(PhysAddr first) {
  while (first.value != 0) {
    const PhysAddr next(x_memory.map.at<abi::attest::BlockListPage>(first)->next);
    x_handover.unpreserve_free(first, page_size_bytes);
    first = next;
  }
}

u64 Outgoing::state_hash() const {
  u64 hash = 0;
  const auto add = [&](PhysAddr page) { hash = hash_page(x_memory, page, hash); };
  if (has_records()) {
    add(x_records);
    units.for_each_page(add);
    domains.for_each_page(add);
    devices.for_each_page(add);
  }
  if (has_attest()) {
    add(x_attest);
    unit_attests.for_each_page(add);
    domain_attests.for_each_page(add);
    device_attests.for_each_page(add);
    memfd_attests.for_each_page(add);
    domain_attests.for_each([&](PhysAddr, const abi::attest::DomainAttest& attest) {
      for (PhysAddr page(attest.block_list); page.value != 0;
           page = PhysAddr(x_memory.map.at<abi::attest::BlockListPage>(page)->next))
        add(page);
    });
  }
  return hash;
}

}  // namespace holdfast::iommu
