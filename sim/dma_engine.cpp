#include "sim/dma_engine.hpp"

namespace sim {

using namespace hw::dma_engine;

namespace {

u64* word(std::byte* at, unsigned index) { return reinterpret_cast<u64*>(at) + index; }

Slot load(std::byte* at) {
  return {__atomic_load_n(word(at, 0), __ATOMIC_RELAXED), __atomic_load_n(word(at, 1), __ATOMIC_RELAXED)};
}

}  // namespace

bool DmaPath::read(Iova iova, Slot& slot) {
  const Translation to = x_unit->translate(x_sid, iova.value, Access::Read);
  std::byte* at = to.allowed ? x_ram->at(to.address, slot_bytes) : nullptr;
  if (at == nullptr) return false;
  slot = load(at);
  return true;
}

bool DmaPath::write(Iova iova, const Slot& slot) {
  const Translation to = x_unit->translate(x_sid, iova.value, Access::Write);
  if (!to.allowed) return false;
  x_grants->count_write(to.address);
  std::byte* at = x_ram->at(to.address, slot_bytes);
  if (at == nullptr) return false;
  __atomic_store_n(word(at, 0), slot.number, __ATOMIC_RELAXED);
  __atomic_store_n(word(at, 1), slot.check, __ATOMIC_RELAXED);
  return true;
}

bool DmaPath::read_afresh(Iova iova, Slot& slot) const {
  const Translation to = x_unit->translate_afresh(x_sid, iova.value, Access::Read);
  std::byte* at = to.allowed ? x_ram->at(to.address, slot_bytes) : nullptr;
  if (at == nullptr) return false;
  slot = load(at);
  return true;
}

DmaEngine::DmaEngine(RegisterFile registers, DmaPath path) : x_registers(registers), x_path(path) { reset(); }

void DmaEngine::reset() {
  x_registers.fill(0);
  x_registers.store(id_offset, id_value);
  x_counters = {};
  reload();
}

void DmaEngine::reload() {
  x_parameters = {.window_iova = x_registers.load<u64>(window_iova_offset),
                  .window_bytes = x_registers.load<u64>(window_bytes_offset),
                  .file_bytes = x_registers.load<u64>(file_bytes_offset),
                  .slot_offset = x_registers.load<u32>(slot_offset_offset),
                  .seed = x_registers.load<u32>(seed_offset)};
  x_runnable = Ctrl(x_registers.load<u32>(ctrl_offset)).get<ctrl::Run>() != 0 && valid(x_parameters);
}

void DmaEngine::register_write(u64 offset, Width width, u64 value) {
  const bool dword = width == Width::Dword;
  const bool qword = width == Width::Qword;
  const Parameters before = x_parameters;
  if (dword && offset == ctrl_offset)
    x_registers.store(offset, Ctrl().with<ctrl::Run>(value & 1).raw());
  else if (dword && (offset == slot_offset_offset || offset == seed_offset))
    x_registers.store(offset, static_cast<u32>(value));
  else if (dword && offset >= window_iova_offset && offset < slot_offset_offset && offset % 4 == 0)
    x_registers.store(offset, static_cast<u32>(value));
  else if (qword && (offset == window_iova_offset || offset == window_bytes_offset || offset == file_bytes_offset))
    x_registers.store(offset, value);
  reload();
  if (x_parameters != before) x_stage = Stage::ReadOld;
}

void DmaEngine::count(u64& counter, u64 offset) { x_registers.store(offset, ++counter); }

void DmaEngine::count(Verdict verdict) {
  switch (verdict) {
    case Verdict::Right: return;
    case Verdict::Lost: return count(x_counters.lost, lost_offset);
    case Verdict::Repeated: return count(x_counters.repeated, repeated_offset);
    case Verdict::Wrong: return count(x_counters.wrong, wrong_offset);
  }
}

bool DmaEngine::step() {
  if (!running()) return false;
  const Parameters& p = x_parameters;
  const u64 i = x_counters.transfers;
  const Iova at = slot_iova(p, i);
  const auto refused = [this](Stage stage) {
    x_stage = stage;
    count(x_counters.faulted, faulted_offset);
    return false;
  };
  Slot found;
  switch (x_stage) {
    case Stage::ReadOld:
      if (!x_path.read(at, found)) return refused(Stage::ReadOld);
      count(judge(p, slot_of(p, i), i, found));
      [[fallthrough]];
    case Stage::Write:
      if (!x_path.write(at, slot_content(p, i))) return refused(Stage::Write);
      [[fallthrough]];
    case Stage::ReadBack:
      if (!x_path.read(at, found)) return refused(Stage::ReadBack);
      if (found != slot_content(p, i)) count(Verdict::Wrong);
      [[fallthrough]];
    case Stage::ReadStamp: {
      const u64 page = stamp_page_of(p, i);
      if (!x_path.read(Iova(p.window_iova + page * page_size_bytes + stamp_offset), found))
        return refused(Stage::ReadStamp);
      if (found != stamp_content(page & (p.slots() - 1))) count(Verdict::Wrong);
    }
  }
  x_stage = Stage::ReadOld;
  count(x_counters.transfers, transfers_offset);
  return true;
}

AuditResult DmaEngine::audit() const {
  AuditResult result;
  const Parameters& p = x_parameters;
  if (!valid(p) || x_counters.transfers == 0) return result;
  for (u64 slot = 0; slot < p.slots(); ++slot) {
    ++result.slots;
    const u64 first = first_transfer_of(p, slot);
    const u64 last =
        x_counters.transfers > first ? first + (x_counters.transfers - 1 - first) / p.slots() * p.slots() : first;
    const Iova at = slot_iova(p, last);
    Slot found;
    Slot stamp;
    if (!x_path.read_afresh(at, found) || !x_path.read_afresh(at - p.slot_offset + stamp_offset, stamp)) {
      ++result.refused;
      continue;
    }
    if (stamp != stamp_content(slot)) ++result.wrong;
    switch (judge_live(p, slot, x_counters.transfers, found)) {
      case Verdict::Right: break;
      case Verdict::Lost: ++result.lost; break;
      case Verdict::Repeated: ++result.repeated; break;
      case Verdict::Wrong: ++result.wrong; break;
    }
  }
  return result;
}

}  // namespace sim
