// How a random domain is made and probed. See domain.hpp.
#include "tests/referee/domain.hpp"

#include <algorithm>
#include <map>
#include <sstream>

#include "host/run_error.hpp"

namespace referee {
namespace {

constexpr std::size_t most_disagreements_told = 20;
constexpr unsigned probes_per_domain = 24;
constexpr unsigned most_mappings = 10;
constexpr u64 page = page_size_bytes;

void must(Status status, const char* what) {
  if (!status.ok()) throw host::RunError(host::ExitCode::Internal, what);
}

/// Part of a request that lies in one page.
struct Piece {
  u64 iova = 0;
  u32 offset = 0;  // into the request
  u32 length = 0;
  WalkResult walk;
  bool table_allows = false;  // the table's own lookup
  PhysAddr table_address;

  [[nodiscard]] bool allowed() const { return walk.ok(); }
};

struct Mapped {
  u64 iova = 0;
  u64 size = 0;
};

/// What was asked for and done: the truth about a domain, kept without tables.
class Wishes {
 public:
  struct Wish {
    u64 iova = 0;
    u64 size = 0;
    u64 target = 0;
    pt::Prot prot = pt::Prot::None;
  };

  void add(const Wish& wish) { x_all.push_back(wish); }
  /// [iova, iova + size), which may span several wishes.
  void remove(u64 iova, u64 size) {
    if (size == 0) return;
    std::vector<Wish> left;
    for (const Wish& wish : x_all) {
      const u64 first = std::max(iova, wish.iova);
      const u64 last = std::min(iova + (size - 1), wish.iova + (wish.size - 1));
      if (first > last) {
        left.push_back(wish);
        continue;
      }
      const u64 before = first - wish.iova;
      const u64 behind = last - wish.iova + 1;
      if (before != 0) left.push_back({wish.iova, before, wish.target, wish.prot});
      if (behind != wish.size) left.push_back({last + 1, wish.size - behind, wish.target + behind, wish.prot});
    }
    x_all = std::move(left);
  }
  [[nodiscard]] const Wish* find(u64 iova) const {
    for (const Wish& wish : x_all)
      if (iova - wish.iova < wish.size) return &wish;
    return nullptr;
  }

 private:
  std::vector<Wish> x_all;
};

class Trial {
 public:
  Trial(Machine& machine, TableMemory& memory, u64 seed, Requests requests)
      : x_machine(machine),
        x_ram(machine.ram()),
        x_memory(memory.memory()),
        x_random(seed),
        x_seed(seed),
        x_shift(requests == Requests::OnePageFurther ? page : 0) {}
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  ~Trial() { pt::Table::destroy(x_table); }

  Score run() {
    create();
    map_landing();  // before there may be no room
    const u64 mappings = 1 + x_random.below(most_mappings);
    for (u64 i = 0; i < mappings; ++i) map_something();
    if (x_random.one_in(2)) unmap_something();
    attach();
    for (unsigned i = 0; i < probes_per_domain; ++i) {
      if (i == probes_per_domain / 2) change_something();
      probe();
    }
    x_score.domains = 1;
    return x_score;
  }

 private:
  void create() {
    const auto shapes = x_machine.shapes();
    x_config = shapes[x_seed % shapes.size()];
    auto table = pt::Table::create(x_memory, x_config);
    must(table.ok() ? Status{} : Status(table.code()), "a table cannot be created");
    x_table = *table;
    for (u64 sizes = x_config.page_sizes; sizes != 0; sizes &= sizes - 1)
      x_sizes.push_back(u64{1} << __builtin_ctzll(sizes));
  }

  [[nodiscard]] u64 width_mask() const {
    return x_config.iova_bits < 64 ? (u64{1} << x_config.iova_bits) - 1 : ~u64{0};
  }

  /// Like addresses of real guests: near each other, near both ends, or anywhere.
  u64 choose_iova(u64 alignment) {
    u64 iova = x_random.bits() & width_mask();
    switch (x_random.below(5)) {
      case 0: iova &= 0xffff'ffff & width_mask(); break;
      case 1: iova = width_mask() - (iova & 0xff'ffff); break;
      case 2:
        if (!x_mapped.empty()) iova = x_mapped.back().iova + x_mapped.back().size;
        break;
      default: break;
    }
    return full(align_down(iova & width_mask(), alignment));
  }
  /// The address a device sends for these bits.
  [[nodiscard]] u64 full(u64 bits) const {
    const bool high = x_config.extent == pt::IovaExtent::SignExtended && (bits >> (x_config.iova_bits - 1) & 1) != 0;
    return high ? bits | ~width_mask() : bits;
  }

  void map_something() {
    const u64 unit = x_sizes[x_random.below(x_sizes.size())];
    const u64 count = unit == smallest_page() ? 1 + x_random.below(40) : 1 + x_random.below(2);
    const u64 iova = choose_iova(x_random.one_in(4) ? smallest_page() : unit);
    // Now and then the target is not aligned like the IOVA, so that large pages do not fit.
    const u64 alignment = x_random.one_in(4) ? smallest_page() : unit;
    const PhysRange targets = x_ram.targets();
    const u64 first = div_ceil(targets.start.value, alignment) * alignment;
    const u64 room = (targets.start + targets.size_bytes).value - first;
    const u64 size = std::min(unit * count, align_down(room, unit));
    if (size == 0) return;
    const u64 target = first + align_down(x_random.below(room - size + 1), alignment);
    const auto prot = static_cast<pt::Prot>(1 + x_random.below(3));
    map(iova, PhysRange{PhysAddr(target), size}, prot);
  }

  bool map(u64 iova, PhysRange target, pt::Prot prot) {
    if (!is_range_translated(iova, target.size_bytes)) return false;
    pt::Gather gather;
    const Status status = x_table->map(Iova(iova), {&target, 1}, prot, gather);
    gather.complete(*x_table);
    if (!status.ok()) return false;
    x_mapped.push_back({iova, target.size_bytes});
    x_wishes.add({iova, target.size_bytes, target.start.value, prot});
    return true;
  }

  [[nodiscard]] bool is_range_translated(u64 iova, u64 size) const {
    for (u64 at = iova; at - iova < size; at += std::min<u64>(mib, size))
      if (!x_machine.is_translated(at)) return false;
    return x_machine.is_translated(iova + size - 1);
  }

  void unmap_something() {
    if (x_mapped.empty()) return;
    const Mapped& from = x_mapped[x_random.below(x_mapped.size())];
    const u64 start = from.iova + align_down(x_random.below(from.size), smallest_page());
    pt::Gather gather;
    const auto bytes = x_table->unmap(Iova(start), smallest_page() * (1 + x_random.below(8)), gather);
    gather.complete(*x_table);
    if (bytes.ok()) x_wishes.remove(start, *bytes);
  }

  /// One page, elsewhere than everything else, through which the device's buffer is filled and read back.
  void map_landing() {
    for (unsigned attempt = 0; attempt < 1000; ++attempt) {
      x_landing = full(align_down(x_random.bits() & width_mask(), smallest_page()));
      if (map(x_landing, {x_machine.landing(), smallest_page()}, pt::Prot::ReadWrite)) {
        x_mapped.pop_back();
        return;
      }
    }
    throw host::RunError(host::ExitCode::Internal, "no room for the landing page");
  }
  [[nodiscard]] u64 smallest_page() const { return x_sizes.front(); }

  void attach() {
    x_root = {x_table->top(), x_table->levels(), x_config.iova_bits,
              static_cast<unsigned>(__builtin_ctzll(smallest_page()))};
    x_machine.attach(x_root);
    (void)x_machine.take_fault();
  }

  /// The living table changes; hardware is told.
  void change_something() {
    unmap_something();
    map_something();
    x_machine.invalidate();
  }

  void probe() {
    const Access access = x_random.one_in(2) ? Access::Read : Access::Write;
    const u32 length = 1 + static_cast<u32>(x_random.one_in(8) ? x_random.below(Edu::longest) : x_random.below(64));
    u64 iova = probe_iova();
    if (x_random.one_in(3)) iova = (iova | (page - 1)) - x_random.below(length);  // across the end of the page
    if (!is_probe_fair(iova, length)) return;
    x_pieces = pieces_of(iova, length, access);
    compare_ours(access);
    ++x_score.dmas;
    if (std::ranges::any_of(x_pieces, [](const Piece& piece) { return !piece.allowed(); })) {
      ++x_score.refused;
      x_machine.invalidate();  // QEMU records a fault where it walks, not where a cached permission refuses
    }
    const std::size_t before = x_complaints;
    const u32 offset = static_cast<u32>(x_random.below(Edu::buffer_bytes - length));
    if (access == Access::Read)
      probe_reading(iova, offset, length);
    else
      probe_writing(iova, offset, length);
    (x_complaints == before ? x_score.agreed : x_score.disagreed) += 1;
  }

  u64 probe_iova() {
    if (x_mapped.empty() || x_random.one_in(12)) return full(x_random.bits() & width_mask());  // a hole, most likely
    const Mapped& mapped = x_mapped[x_random.below(x_mapped.size())];
    switch (x_random.below(9)) {
      case 0: return mapped.iova - 1 - x_random.below(page);
      case 1: return mapped.iova + mapped.size + x_random.below(page);
      case 2: return mapped.iova;
      case 3: return mapped.iova + (width_mask() + 1);  // beyond the width
      default: return mapped.iova + x_random.below(mapped.size);
    }
  }
  /// Not where requests are no memory requests, and not through the referee's own page.
  [[nodiscard]] bool is_probe_fair(u64 iova, u64 length) const {
    const u64 last = iova + length - 1;
    const bool within = last <= width_mask() || x_config.extent != pt::IovaExtent::Lower;
    return last >= iova && (within || x_machine.checks_width()) && x_machine.is_translated(iova) &&
           x_machine.is_translated(last) && (last < x_landing || iova >= x_landing + smallest_page());
  }

  std::vector<Piece> pieces_of(u64 iova, u32 length, Access access) {
    std::vector<Piece> pieces;
    for (u32 done = 0; done < length;) {
      Piece piece;
      piece.iova = iova + done;
      piece.offset = done;
      piece.length = std::min(length - done, static_cast<u32>(page - (piece.iova & (page - 1))));
      piece.walk = x_machine.walk(x_root, piece.iova, access);
      const auto found = x_table->lookup(Iova(piece.iova));
      const pt::Prot wanted = access == Access::Read ? pt::Prot::Read : pt::Prot::Write;
      piece.table_allows = found.ok() && allows(found->prot, wanted);
      if (piece.table_allows) piece.table_address = found->address;
      done += piece.length;
      pieces.push_back(piece);
    }
    return pieces;
  }

  void compare_ours(Access access) {
    for (const Piece& piece : x_pieces) {
      if (piece.table_allows != piece.allowed())
        complain(piece, access,
                 piece.allowed() ? "the walker allows it, lookup does not" : "lookup allows it, the walker does not");
      else if (piece.allowed() && piece.table_address != piece.walk.address)
        complain(piece, access, "walker and lookup lead to different places");
      compare_wish(piece, access);
    }
  }

  // Writing alone lets some formats read as well.
  void compare_wish(const Piece& piece, Access access) {
    const Wishes::Wish* wish = x_wishes.find(piece.iova);
    const pt::Prot wanted = access == Access::Read ? pt::Prot::Read : pt::Prot::Write;
    const bool wished = wish != nullptr && allows(wish->prot, wanted);
    const bool implied = wish != nullptr && access == Access::Read;
    if (piece.allowed() && !wished && !implied) complain(piece, access, "nobody mapped it so");
    if (!piece.allowed() && wished) complain(piece, access, "it was mapped");
    if (piece.allowed() && wish != nullptr && piece.walk.address.value != wish->target + (piece.iova - wish->iova))
      complain(piece, access, "it was mapped to elsewhere");
  }

  [[nodiscard]] std::vector<std::byte> noise(u32 length) {
    std::vector<std::byte> bytes(length);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(1 + x_random.below(255));  // what fails reads 0
    return bytes;
  }

  void probe_reading(u64 iova, u32 offset, u32 length) {
    const auto pattern = noise(length);
    // Two pieces may lead to the same bytes; so what arrived is compared with memory, not with the pattern.
    for (const Piece& piece : x_pieces)
      if (piece.allowed()) put(piece.walk.address, pattern, piece);
    x_machine.edu().read_memory(iova + x_shift, offset, length);
    compare_fault(Access::Read);
    x_machine.edu().write_memory(x_landing + offset, offset, length);
    if (x_machine.take_fault()) complain(x_pieces.front(), Access::Read, "the landing page faults");
    const auto landed = x_ram.bytes(x_machine.landing() + offset, length);
    for (const Piece& piece : x_pieces) {
      const auto arrived = landed.subspan(piece.offset, piece.length);
      const bool as_expected = piece.allowed()
                                   ? std::ranges::equal(arrived, x_ram.bytes(piece.walk.address, piece.length))
                                   : std::ranges::all_of(arrived, [](std::byte byte) { return byte == std::byte{0}; });
      if (!as_expected) complain(piece, Access::Read, piece.allowed() ? "other bytes arrived" : "QEMU let it through");
    }
  }

  void put(PhysAddr to, std::span<const std::byte> pattern, const Piece& piece) const {
    std::ranges::copy(pattern.subspan(piece.offset, piece.length), x_ram.bytes(to, piece.length).begin());
  }

  void probe_writing(u64 iova, u32 offset, u32 length) {
    const auto pattern = noise(length);
    std::ranges::copy(pattern, x_ram.bytes(x_machine.landing() + offset, length).begin());
    x_machine.edu().read_memory(x_landing + offset, offset, length);
    const auto before = pages_of_targets();
    x_machine.edu().write_memory(iova + x_shift, offset, length);
    compare_fault(Access::Write);
    auto expected = before;
    for (const Piece& piece : x_pieces) {
      if (!piece.allowed()) continue;
      auto& bytes = expected[align_down(piece.walk.address.value, page)];
      std::ranges::copy(std::span(pattern).subspan(piece.offset, piece.length),
                        bytes.begin() + static_cast<std::ptrdiff_t>(piece.walk.address.value & (page - 1)));
    }
    for (const Piece& piece : x_pieces) {
      const u64 target = align_down(piece.walk.address.value, page);
      if (!before.contains(target)) continue;
      if (!std::ranges::equal(x_ram.bytes(PhysAddr(target), page), expected[target]))
        complain(piece, Access::Write, piece.allowed() ? "other bytes are in memory" : "QEMU let it through");
    }
  }

  /// Pages that the pieces lead to, permitted or not, as they are.
  std::map<u64, std::vector<std::byte>> pages_of_targets() {
    std::map<u64, std::vector<std::byte>> pages;
    for (const Piece& piece : x_pieces) {
      const PhysAddr target(align_down(piece.walk.address.value, page));
      if (!x_ram.targets().contains(target, page)) continue;
      const auto bytes = x_ram.bytes(target, page);
      pages[target.value].assign(bytes.begin(), bytes.end());
    }
    return pages;
  }

  void compare_fault(Access access) {
    const auto seen = x_machine.take_fault();
    const auto refused = std::ranges::find_if(x_pieces, [](const Piece& piece) { return !piece.allowed(); });
    std::optional<Record> expected;
    if (refused != x_pieces.end())
      if (const auto code = x_machine.recorded_code(refused->walk, refused->iova))
        expected = Record{*code, align_down(refused->iova, page), access};
    if (seen != expected)
      complain(refused != x_pieces.end() ? *refused : x_pieces.front(), access,
               "expected " + to_string(expected) + ", QEMU recorded " + to_string(seen));
  }

  void complain(const Piece& piece, Access access, const std::string& what) {
    ++x_complaints;
    if (x_score.disagreements.size() >= most_disagreements_told) return;
    std::ostringstream text;
    text << std::hex << (access == Access::Read ? "read of 0x" : "write of 0x") << piece.iova << std::dec << ", "
         << piece.length << " bytes: " << what << "; the walker says ";
    if (piece.allowed())
      text << "0x" << std::hex << piece.walk.address.value;
    else
      text << "fault code 0x" << std::hex << piece.walk.code << " (" << piece.walk.why << ")";
    text << std::dec << "; " << unsigned{x_config.levels} << " levels, " << unsigned{x_config.iova_bits}
         << " bits, granule 2^" << x_root.granule_lg2 << ", seed " << x_seed;
    x_score.disagreements.push_back(text.str());
  }

  Machine& x_machine;
  const SharedRam& x_ram;
  Memory& x_memory;
  Random x_random;
  u64 x_seed;
  u64 x_shift;  // of what the device is told, against what is judged
  pt::TableConfig x_config;
  std::vector<u64> x_sizes;
  pt::Table* x_table = nullptr;
  Root x_root;
  std::vector<Mapped> x_mapped;
  Wishes x_wishes;
  u64 x_landing = 0;
  std::vector<Piece> x_pieces;
  std::size_t x_complaints = 0;
  Score x_score;
};

}  // namespace

Score& Score::operator+=(const Score& other) {
  domains += other.domains;
  dmas += other.dmas;
  refused += other.refused;
  agreed += other.agreed;
  disagreed += other.disagreed;
  for (const std::string& text : other.disagreements)
    if (disagreements.size() < most_disagreements_told) disagreements.push_back(text);
  return *this;
}

TableMemory::TableMemory(const SharedRam& ram, PhysRange part)
    : x_own(ram.bytes(part.start, part.size_bytes), part.start) {
  must(x_own.open(), "no memory for tables");
}

Score referee_domain(Machine& machine, TableMemory& memory, u64 seed, Requests requests) {
  Score score = Trial(machine, memory, seed, requests).run();
  machine.ram().drop_targets();
  return score;
}

}  // namespace referee
