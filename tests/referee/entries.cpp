// Laying structures out, and asking both units. See entries.hpp.
#include "tests/referee/entries.hpp"

#include <sstream>

#include "host/run_error.hpp"

namespace referee {
namespace {

using namespace hw::vtd;

// Neither what is written nor what is there to be read is a present entry of any kind, should an entry lead there.
constexpr u64 written = 0x0123'4567'89ab'cde0;
constexpr u64 mark(Verdict verdict, u64 serial) {
  return 0x7000'0000'0000'0000 | serial << 20 | u64{verdict & 0xff} << 4;
}
constexpr u32 written_offset = 0;  // in the device's buffer
constexpr u32 read_offset = 8;
constexpr u64 landing_iova = 0x1'2345'6000;
constexpr u64 fault_record = 0x200;  // of the modelled unit
constexpr u32 enable = u32{1} << 31;
constexpr u32 set_root = u32{1} << 30;

[[noreturn]] void fail(const char* what) { throw host::RunError(host::ExitCode::Internal, what); }

PhysAddr good_place(const SharedRam& ram) { return ram.structures() + 0x1'0000; }

/// One page, typed by hand: the landing page at landing_iova.
Layout good_layout(const SharedRam& ram, Mode mode) {
  const PhysAddr start = good_place(ram);
  PhysAddr table = start + 0x4000;
  for (unsigned level = 4; level != 1; --level, table = table + 0x1000)
    ram.store(table + 8 * (landing_iova >> (3 + 9 * level) & 0x1ff), (table + 0x1000).value | 3);
  ram.store(table + 8 * (landing_iova >> 12 & 0x1ff), (start + 0x8000).value | 3);
  return {.mode = mode,
          .root_table = start,
          .context_table = start + 0x1000,
          .directory = start + 0x2000,
          .pasid_table = start + 0x3000,
          .top = start + 0x4000};
}
PhysAddr good_landing(const SharedRam& ram) { return good_place(ram) + 0x8000; }

sim::MachineConfig config_for(Mode mode) {
  sim::MachineConfig config;
  config.scalable_mode = mode == Mode::Scalable;
  config.three_levels = true;
  config.large_pages = sim::LargePages::OneGiB;
  config.fault_records = 1;
  config.caches = sim::CacheModel::Absent;
  return config;
}

sim::RamView view_of(const SharedRam& ram) {
  return {ram.bytes(PhysAddr(0), SharedRam::size_bytes).data(),
          {{{PhysAddr(0), SharedRam::size_bytes}, MemoryKind::Ram}}};
}

sim::RegisterFile file_of(std::vector<u64>& words) {
  return sim::RegisterFile(std::as_writable_bytes(std::span(words)));
}

}  // namespace

Verdict verdict_of(const std::optional<Record>& record, const Request& request, Verdict arrival) {
  if (!record) return arrival;
  const bool is_right = record->page == align_down(request.iova, page_size_bytes) && record->access == request.access;
  return record->code | (is_right ? 0 : wrong_record) | (arrival != refused_silently ? in_spite_of_it : 0);
}

std::string verdict_text(Verdict verdict) {
  switch (verdict) {
    case arrives: return "arrives";
    case untranslated: return "arrives untranslated";
    case elsewhere: return "arrives elsewhere";
    case refused_silently: return "refused without a record";
    case unseen: return "arrives out of sight";
    default: break;
  }
  std::ostringstream text;
  text << "fault " << std::hex << (verdict & 0xffff);
  if ((verdict & wrong_record) != 0) text << " of another request";
  if ((verdict & in_spite_of_it) != 0) text << ", and arrives";
  return text.str();
}

Structures::Structures(const SharedRam& ram, const Layout& layout)
    : x_ram(ram),
      x_layout(layout),
      x_root_pointer(layout.root_table.value |
                     (layout.mode == Mode::Scalable ? VtdMachine::scalable : VtdMachine::legacy)) {
  ram.store(address(Place::Root, 0), layout.context_table.value | 1);
  if (layout.mode == Mode::Legacy) {
    ram.store(address(Place::Context, 0), layout.top.value | 1);
    ram.store(address(Place::Context, 1), (layout.levels - 2) | layout.domain_id << 8);
    return;
  }
  ram.store(address(Place::Context, 0), layout.directory.value | layout.pdts << 9 | 1);
  ram.store(address(Place::Context, 1), layout.rid_pasid);
  ram.store(address(Place::Directory, 0), layout.pasid_table.value | 1);
  ram.store(address(Place::Pasid, 0), layout.top.value | u64{2} << 6 | u64{layout.levels - 2} << 2 | 1);
  ram.store(address(Place::Pasid, 1), layout.domain_id);
}

Structures::~Structures() {
  undo();
  const bool scalable = x_layout.mode == Mode::Scalable;
  x_ram.clear({address(Place::Root, 0), 16});
  x_ram.clear({address(Place::Context, 0), scalable ? 32u : 16u});
  if (!scalable) return;
  x_ram.clear({address(Place::Directory, 0), 8});
  x_ram.clear({address(Place::Pasid, 0), 64});
}

PhysAddr Structures::address(Place place, unsigned word) const {
  switch (place) {
    case Place::Root: return x_layout.root_table + 8 * word;  // bus 0
    case Place::Context:
      return x_layout.context_table + (x_layout.mode == Mode::Scalable ? 32u : 16u) * Edu::requester_id + 8 * word;
    case Place::Directory: return x_layout.directory + 8 * (x_layout.rid_pasid >> 6);
    case Place::Pasid: return x_layout.pasid_table + 64 * (x_layout.rid_pasid & 0x3f) + 8 * word;
    case Place::RootPointer:
    case Place::Paging: break;
  }
  fail("no entry of that kind");
}

PhysAddr Structures::paging_entry(unsigned level, u64 iova) const {
  PhysAddr table = x_layout.top;
  for (unsigned here = x_layout.levels;; --here) {
    const PhysAddr entry = table + 8 * (iova >> (3 + 9 * here) & 0x1ff);
    if (here == level) return entry;
    table = PhysAddr(x_ram.load(entry) & 0xffff'ffff'f000);
  }
}

void Structures::apply(const Edit& edit, u64 iova) {
  undo();
  if (edit.place == Place::RootPointer) {
    x_root_pointer = (x_root_pointer & ~edit.clear) | edit.set;
    return;
  }
  x_edited = edit.place == Place::Paging ? paging_entry(edit.word, iova) : address(edit.place, edit.word);
  x_before = x_ram.load(*x_edited);
  x_ram.store(*x_edited, (x_before & ~edit.clear) | edit.set);
}

void Structures::undo() {
  x_root_pointer =
      x_layout.root_table.value | (x_layout.mode == Mode::Scalable ? VtdMachine::scalable : VtdMachine::legacy);
  if (x_edited) x_ram.store(*x_edited, x_before);
  x_edited.reset();
}

EntryReferee::EntryReferee(VtdMachine& machine, Mode mode)
    : x_machine(machine),
      x_mode(mode),
      x_good(machine.ram(), good_layout(machine.ram(), mode)),
      x_config(config_for(mode)),
      x_registers(page_size_bytes / sizeof(u64)),
      x_unit_ram(view_of(machine.ram())),
      x_unit(x_config, x_unit_ram, file_of(x_registers)) {
  machine.ram().store(good_landing(machine.ram()), written);
  point_at(x_good);
  machine.edu().read_memory(landing_iova, written_offset, 8);
  if (machine.take_fault()) fail("the good entries fault");
}

bool EntryReferee::is_visible(PhysAddr address) const {
  return x_machine.ram().targets().contains(PhysAddr(align_down(address.value, 8)), 8);
}

EntryReferee::UnitAnswer EntryReferee::ask_unit(const Structures& structures, const Request& request, PhysAddr target) {
  const sim::RegisterFile registers = file_of(x_registers);
  x_unit.register_write(rtaddr_offset, Width::Qword, structures.root_pointer());
  x_unit.register_write(gcmd_offset, Width::Dword, set_root | (x_unit.translating() ? enable : 0));
  x_unit.register_write(gcmd_offset, Width::Dword, enable);
  const auto access = request.access == Access::Read ? sim::Access::Read : sim::Access::Write;
  const sim::Translation found = x_unit.translate(SourceId(Edu::requester_id), request.iova, access);

  std::optional<Record> record;
  const u64 high = registers.load<u64>(fault_record + 8);
  if (high >> 63 != 0) {
    record = Record{static_cast<u32>(high >> 32 & 0xff), registers.load<u64>(fault_record),
                    (high >> 62 & 1) != 0 ? Access::Read : Access::Write};
    x_unit.register_write(fault_record + 8, Width::Qword, u64{1} << 63);
  }
  Verdict arrival = refused_silently;
  if (found.allowed)
    arrival = found.address == target               ? arrives
              : !is_visible(found.address)          ? unseen
              : found.address.value == request.iova ? untranslated
                                                    : elsewhere;
  return {verdict_of(record, request, arrival), found.address};
}

void EntryReferee::point_at(const Structures& structures) {
  x_machine.set_root_pointer(structures.root_pointer());
  x_machine.invalidate();
}

u64 EntryReferee::read_buffer() {
  x_machine.ram().store(good_landing(x_machine.ram()), ~u64{0});
  point_at(x_good);
  x_machine.edu().write_memory(landing_iova, read_offset, 8);
  if (x_machine.take_fault()) fail("the good entries fault");
  return x_machine.ram().load(good_landing(x_machine.ram()));
}

Verdict EntryReferee::ask_qemu(const Structures& structures, const Request& request, const Destinations& to) {
  const SharedRam& ram = x_machine.ram();
  const std::pair<PhysAddr, Verdict> places[] = {
      {to.elsewhere, elsewhere}, {PhysAddr(request.iova), untranslated}, {to.target, arrives}};
  ++x_serial;
  for (const auto& [place, verdict] : places)
    if (is_visible(place)) ram.store(place, mark(verdict, x_serial));
  point_at(structures);
  const bool is_read = request.access == Access::Read;
  if (is_read)
    x_machine.edu().read_memory(request.iova, read_offset, 8);
  else
    x_machine.edu().write_memory(request.iova, written_offset, 8);
  const auto record = x_machine.take_fault();

  const u64 read = is_read ? read_buffer() : 0;
  Verdict arrival = refused_silently;
  for (const auto& [place, verdict] : places)
    if (is_visible(place) && (is_read ? read == mark(verdict, x_serial) : ram.load(place) == written))
      arrival = verdict;
  // The modelled unit is asked about memory as it was before.
  for (const auto& [place, verdict] : places)
    if (is_visible(place)) ram.store(place, 0);
  return verdict_of(record, request, arrival);
}

std::optional<Mode> entry_mode(const MachineKind& kind) {
  const std::string_view name = kind.name;
  if (name.starts_with("vtd_legacy")) return Mode::Legacy;
  if (name.starts_with("vtd_scalable")) return Mode::Scalable;
  return std::nullopt;
}

}  // namespace referee
