// Page tables without a kernel: RAM of our own, one VT-d second-stage table in it, and what hardware finds there.
#include <cstdio>
#include <cstdlib>

#include "holdfast/memory/own_ram.hpp"
#include "holdfast/pt/table.hpp"

using namespace holdfast;

namespace {

/// Follows one IOVA as the IOMMU does, entry by entry, down to an entry that is not present or leads to memory.
void print_walk(const Memory& memory, const pt::Table& table, Iova iova) {
  std::printf("%#llx:", static_cast<unsigned long long>(iova.value));
  PhysAddr at = table.top();
  for (unsigned level = table.levels(); level != 0; --level) {
    const u64 index = iova.value >> (12 + 9 * (level - 1)) & 511;
    const u64 entry = memory.map.at<u64>(at)[index];
    std::printf(" [%llu]=%#llx", static_cast<unsigned long long>(index), static_cast<unsigned long long>(entry));
    const bool present = (entry & 3) != 0;  // read or write
    const bool leaf = level == 1 || (entry & 0x80) != 0;
    if (!present || leaf) break;
    at = PhysAddr(entry & 0x000f'ffff'ffff'f000);
  }
  std::printf("\n");
}

void print_lookup(const pt::Table& table, Iova iova) {
  const auto to = table.lookup(iova);
  if (to.ok())
    std::printf("  leads to %#llx in a page of %llu bytes\n", static_cast<unsigned long long>(to->address.value),
                static_cast<unsigned long long>(to->page_size));
  else
    std::printf("  %.*s\n", static_cast<int>(errno_name(to.code()).size()), errno_name(to.code()).data());
}

Status run(OwnRam& ram) {
  TRY(ram.open());
  const pt::TableConfig config{.format = pt::Format::VtdSecondStage, .levels = 4, .page_sizes = 1 << 12 | 1 << 21};
  TRY_ASSIGN(pt::Table* const table, pt::Table::create(ram.memory(), config));

  // Two pieces of memory in one call: the first fits a page of 2 MiB, the second does not. What changed is in the
  // gather: a unit that remembers it is told first, then the gather is completed.
  const Iova iova(0x4000'0000);
  const PhysRange memory[] = {{PhysAddr(0x1'2340'0000), u64{2} << 20}, {PhysAddr(0x2'0000'1000), u64{2} << 20}};
  pt::Gather gather;
  TRY(table->map(iova, memory, pt::Prot::ReadWrite, gather));
  gather.complete(*table);
  for (const Iova probe : {iova, iova + (u64{2} << 20), iova + (u64{4} << 20)}) {
    print_walk(ram.memory(), *table, probe);
    print_lookup(*table, probe);
  }

  TRY_ASSIGN(const u64 unmapped, table->unmap(iova, u64{4} << 20, gather));
  std::printf("unmapped %llu bytes; ranges to invalidate: %zu, tables to free then: %llu\n",
              static_cast<unsigned long long>(unmapped), gather.ranges().size(),
              static_cast<unsigned long long>(gather.table_count()));
  gather.complete(*table);  // after the invalidation: now the tables may be used again
  print_walk(ram.memory(), *table, iova);
  pt::Table::destroy(table);
  return {};
}

}  // namespace

int main() {
  constexpr std::size_t ram_bytes = std::size_t{4} << 20;
  auto* const bytes = static_cast<std::byte*>(std::aligned_alloc(page_size_bytes, ram_bytes));
  if (bytes == nullptr) return 1;
  OwnRam ram({bytes, ram_bytes}, PhysAddr(0x1000'0000));
  const Status status = run(ram);
  if (!status.ok()) std::printf("failed: errno %d\n", to_errno(status.code()));
  std::free(bytes);
  return status.ok() ? 0 : 1;
}
