// How random entries are made, flipped and asked about. See random_entries.hpp.
#include "tests/referee/random_entries.hpp"

#include <sstream>

#include "host/run_error.hpp"

namespace referee {
namespace {

constexpr unsigned requests_per_domain = 6;
constexpr unsigned flips_per_domain = 12;
constexpr unsigned most_mappings = 6;
constexpr u64 page = page_size_bytes;

// Where structures may be, from the start of the machine's own: no flipped bit of a pointer leads from there to
// structures of others or into the first MiB of RAM.
constexpr u64 directories = mib + 256 * 1024;
constexpr u64 tables = 2 * mib + 256 * 1024;
constexpr u64 choices = 64;  // pages, for each

const char* place_name(Place place) {
  switch (place) {
    case Place::RootPointer: return "root pointer";
    case Place::Root: return "root entry";
    case Place::Context: return "context entry";
    case Place::Directory: return "PASID directory entry";
    case Place::Pasid: return "PASID table entry";
    case Place::Paging: return "paging entry";
  }
  return "";
}

class EntryTrial {
 public:
  EntryTrial(EntryReferee& referee, Release release, TableMemory& memory, u64 seed)
      : x_referee(referee), x_release(release), x_memory(memory.memory()), x_random(seed), x_seed(seed) {}
  EntryTrial(const EntryTrial&) = delete;
  EntryTrial& operator=(const EntryTrial&) = delete;
  ~EntryTrial() { pt::Table::destroy(x_table); }

  Score run() {
    create();
    for (u64 mappings = 1 + x_random.below(most_mappings); mappings != 0; --mappings) map_something();
    Structures structures(ram(), layout());
    for (unsigned i = 0; i < requests_per_domain; ++i) ask(structures, nullptr);
    for (unsigned i = 0; i < flips_per_domain; ++i) {
      const Edit edit = choose_flip(structures);
      ask(structures, &edit);
    }
    x_score.domains = 1;
    return x_score;
  }

 private:
  [[nodiscard]] const SharedRam& ram() const { return x_referee.machine().ram(); }

  void create() {
    const auto shapes = x_referee.machine().shapes();
    x_config = shapes[x_random.below(shapes.size())];
    auto table = pt::Table::create(x_memory, x_config);
    if (!table.ok()) throw host::RunError(host::ExitCode::Internal, "a table cannot be created");
    x_table = *table;
  }

  /// Every other one is an address of RAM for targets, so that what passes untranslated can be seen.
  u64 choose_iova() {
    const PhysRange targets = ram().targets();
    if (x_random.one_in(2)) return align_down(targets.start.value + x_random.below(targets.size_bytes), page);
    const u64 iova = align_down(x_random.bits() & ((u64{1} << x_config.iova_bits) - 1), page);
    return iova < 4 * gib ? iova | 4 * gib : iova;  // below are registers and interrupts
  }

  void map_something() {
    const PhysRange targets = ram().targets();
    const u64 size = x_random.one_in(3) ? 4 * mib : page * (1 + x_random.below(4));
    const u64 alignment = size > mib ? 2 * mib : page;
    const u64 iova = align_down(choose_iova(), alignment);
    if (iova + size > u64{1} << x_config.iova_bits) return;
    const PhysRange target{targets.start + align_down(x_random.below(targets.size_bytes - size), alignment), size};
    pt::Gather gather;
    const Status status =
        x_table->map(Iova(iova), {&target, 1},
                     x_random.one_in(2) ? pt::Prot::ReadWrite : static_cast<pt::Prot>(1 + x_random.below(3)), gather);
    gather.complete(*x_table);
    if (status.ok()) x_mapped.push_back({iova, size});  // what is mapped already stays
  }

  Layout layout() {
    Layout layout{.mode = x_referee.mode(),
                  .root_table = {},
                  .context_table = {},
                  .directory = {},
                  .pasid_table = {},
                  .top = x_table->top(),
                  .levels = x_table->levels(),
                  .domain_id = x_random.below(0x10000),
                  .rid_pasid = 0,
                  .pdts = x_random.below(8)};
    layout.rid_pasid = x_random.below(u64{64} << (layout.pdts + 7));
    do {
      layout.root_table = random_page(tables);
      layout.context_table = random_page(tables);
      layout.directory = random_page(directories);
      layout.pasid_table = random_page(tables);
    } while (is_ambiguous(layout));
    return layout;
  }
  PhysAddr random_page(u64 from) { return ram().structures() + from + page * x_random.below(choices); }

  /// Whether entries overlap, or a pointer with one bit flipped leads to one of another kind: what QEMU does not check
  /// there is another list.
  [[nodiscard]] bool is_ambiguous(const Layout& layout) const {
    const u64 offsets[] = {0, 32 * Edu::requester_id, 8 * (layout.rid_pasid >> 6), 64 * (layout.rid_pasid & 0x3f)};
    const PhysAddr starts[] = {layout.root_table, layout.context_table, layout.directory, layout.pasid_table};
    for (unsigned from = 0; from < 4; ++from)
      for (unsigned to = 0; to < 4; ++to)
        for (u64 bit = page; from != to && bit < 8 * mib; bit *= 2)
          for (const PhysAddr start : {starts[from], PhysAddr(starts[from].value ^ bit)})
            if (align_down((start + offsets[from]).value, page) == align_down((starts[to] + offsets[to]).value, page))
              return true;
    return false;
  }

  Request choose_request() {
    const Access access = x_random.one_in(2) ? Access::Read : Access::Write;
    u64 iova = choose_iova() + 8 * x_random.below(page / 8);
    if (!x_mapped.empty() && !x_random.one_in(8)) {
      const Iovas& among = x_mapped[x_random.below(x_mapped.size())];
      iova = among.start + 8 * x_random.below(among.size / 8);
    }
    if (x_random.one_in(16)) iova |= u64{1} << (x_config.iova_bits + x_random.below(3));
    return {iova, access};
  }

  Edit choose_flip(const Structures& structures) {
    static constexpr std::pair<Place, unsigned> legacy[] = {{Place::Root, 2}, {Place::Context, 2}};
    static constexpr std::pair<Place, unsigned> scalable[] = {
        {Place::Root, 2}, {Place::Context, 4}, {Place::Directory, 1}, {Place::Pasid, 8}};
    const auto [place, words] = x_referee.mode() == Mode::Legacy ? legacy[x_random.below(std::size(legacy))]
                                                                 : scalable[x_random.below(std::size(scalable))];
    // The first word has most of the meaning.
    const unsigned word = static_cast<unsigned>(x_random.one_in(2) ? 0 : x_random.below(words));
    const u64 bit = u64{1} << x_random.below(64);
    return (structures.word(place, word) & bit) != 0 ? Edit{place, word, bit, 0} : Edit{place, word, 0, bit};
  }

  void ask(Structures& structures, const Edit* edit) {
    const Request request = choose_request();
    // Without the edit the request goes where the tables lead.
    const PhysAddr target = x_referee.ask_unit(structures, request, {}).address;
    const Verdict without = x_referee.ask_unit(structures, request, target).verdict;
    if (edit != nullptr) structures.apply(*edit, request.iova);
    const auto unit = x_referee.ask_unit(structures, request, target);
    // Not to where structures and tables are: what is judged would change.
    if (unit.address == PhysAddr() || unit.address >= ram().targets().start) {
      const Verdict qemu = x_referee.ask_qemu(structures, request, {target, unit.address});
      const Expected expected = expected_of_qemu(x_referee.mode(), x_release, edit, unit.verdict, without);
      count(request, edit, unit.verdict, expected.verdict, qemu);
    }
    structures.undo();
  }

  void count(const Request& request, const Edit* edit, Verdict unit, Verdict expected, Verdict qemu) {
    ++x_score.dmas;
    x_score.refused += is_arrival(unit) ? 0 : 1;
    const bool agrees = is_as_expected(qemu, expected);
    ++(agrees ? x_score.agreed : x_score.disagreed);
    if (agrees) return;
    std::ostringstream text;
    text << "entries, seed " << x_seed << ": " << (request.access == Access::Read ? "read of 0x" : "write of 0x")
         << std::hex << request.iova;
    if (edit != nullptr)
      text << ", " << place_name(edit->place) << " with bit " << std::dec
           << 64 * edit->word + static_cast<unsigned>(__builtin_ctzll(edit->clear | edit->set)) << " flipped";
    text << ": modelled unit: " << verdict_text(unit) << ", QEMU: " << verdict_text(qemu) << " where "
         << verdict_text(expected) << " is known";
    x_score.disagreements.push_back(text.str());
  }

  struct Iovas {
    u64 start = 0;
    u64 size = 0;
  };

  EntryReferee& x_referee;
  Release x_release;
  Memory& x_memory;
  Random x_random;
  u64 x_seed;
  pt::TableConfig x_config;
  pt::Table* x_table = nullptr;
  std::vector<Iovas> x_mapped;
  Score x_score;
};

}  // namespace

Score referee_entries(EntryReferee& referee, Release release, TableMemory& memory, u64 seed) {
  Score score = EntryTrial(referee, release, memory, seed).run();
  referee.machine().ram().drop_targets();
  return score;
}

}  // namespace referee
