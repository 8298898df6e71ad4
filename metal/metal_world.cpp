// MetalWorld: registers, log, milestones. The jump is in metal_jump.cpp.
#include "metal/metal_world.hpp"

#include "metal/console.hpp"
#include "metal/cpu.hpp"
#include "metal/kept_log.hpp"
#include "metal/page_map.hpp"

namespace metal {
namespace {

constexpr u64 cache_line_bytes = 64;

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::Debug: return "debug";
    case LogLevel::Info: return "info";
    case LogLevel::Warning: return "warning";
    case LogLevel::Error: return "error";
  }
  return "?";
}

std::string_view phase_name(u32 index) {
  constexpr std::array<std::string_view, 9> names{"FreezeBegin",  "LastConsent", "CutOffDone",
                                                  "JumpBegin",    "JumpFailed",  "BootEntry",
                                                  "AdoptionDone", "VerifyDone",  "LiveBootDone"};
  if (index == entered_sample) return "Entered";
  return index < names.size() ? names[index] : "?";
}

template <class T>
u64 load(u64 address) {
  return *reinterpret_cast<const volatile T*>(address);
}
template <class T>
void store(u64 address, u64 value) {
  *reinterpret_cast<volatile T*>(address) = static_cast<T>(value);
}

const Sample& sample_of(Phase phase) { return boot_page().samples[static_cast<u8>(phase)]; }

}  // namespace

void take_sample(u32 index) {
  BootPage& page = boot_page();
  const u64 watched = page.watched_register;
  page.samples[index] = {
      .tsc = read_tsc(), .value = watched == 0 ? 0 : static_cast<u32>(load<u32>(watched)), .reached = 1};
}

MetalWorld::MetalWorld(const Options& options, const PhysRange& own_image)
    : x_options(options), x_own_image(own_image), x_direct_map(PageMap::direct_map(boot_page().generation)) {}

u64 MetalWorld::mmio_read(PhysAddr address, Width width) {
  const auto bytes = static_cast<u64>(width);
  if (address.value > PageMap::end() - bytes)
    return ~u64{0} >> (64 - 8 * bytes);  // nobody answers: all ones, as on a bus
  switch (width) {
    case Width::Byte: return load<u8>(address.value);
    case Width::Word: return load<u16>(address.value);
    case Width::Dword: return load<u32>(address.value);
    case Width::Qword: return load<u64>(address.value);
  }
  return 0;
}

void MetalWorld::mmio_write(PhysAddr address, Width width, u64 value) {
  if (address.value > PageMap::end() - static_cast<u64>(width)) return;
  switch (width) {
    case Width::Byte: return store<u8>(address.value, value);
    case Width::Word: return store<u16>(address.value, value);
    case Width::Dword: return store<u32>(address.value, value);
    case Width::Qword: return store<u64>(address.value, value);
  }
}

void MetalWorld::flush_cache(const void* start, std::size_t size_bytes) {
  const u64 end = reinterpret_cast<u64>(start) + size_bytes;
  for (u64 at = reinterpret_cast<u64>(start) & ~(cache_line_bytes - 1); at < end; at += cache_line_bytes)
    asm volatile("clflush (%0)" : : "r"(at) : "memory");
  asm volatile("mfence" : : : "memory");
}

bool MetalWorld::is_blackout() const {
  const auto phase = static_cast<Phase>(boot_page().phase);
  return sample_of(Phase::LastConsent).reached != 0 && phase != Phase::JumpFailed && phase < Phase::AdoptionDone;
}

void MetalWorld::log(LogLevel level, std::string_view message) {
  Line line;
  line << "kernel " << u64{boot_page().generation} << ": " << level_name(level) << ": " << message << "\n";
  if (is_blackout())
    keep_log(line.text());
  else
    print(line.text());
}

void MetalWorld::phase(Phase phase, const TouchCounts& touched) {
  BootPage& page = boot_page();
  if (phase == Phase::FreezeBegin) {
    page.samples = {};
    x_attempt = UpdateAttempt::Refused;
  }
  take_sample(static_cast<u8>(phase));
  page.phase = static_cast<u8>(phase);
  if (phase == Phase::LastConsent) x_attempt = UpdateAttempt::CameBack;
  if (phase == Phase::AdoptionDone) page.touched = touched;
  const bool live = page.generation != 0;
  if (live && phase == Phase::AdoptionDone)
    hold(holds_after_adoption);  // the blackout is measured: its sample is taken
  if (phase == Phase::JumpFailed || (live && phase == Phase::AdoptionDone)) print_kept_log();
  if (live && phase == Phase::LiveBootDone) print_update();
}

void MetalWorld::print_update() {
  const BootPage& page = boot_page();
  const u64 start = sample_of(Phase::LastConsent).tsc;
  const u64 blackout = sample_of(Phase::AdoptionDone).tsc - start;
  Line line;
  line << "hf: update generation=" << u64{page.generation} << " blackout_ns=" << x_clock.nanoseconds(blackout)
       << " blackout_cycles=" << blackout << " tables=" << page.touched.tables << " blocks=" << page.touched.blocks
       << " records=" << page.touched.records << " files=" << page.touched.files << " frames=" << page.touched.frames;
  line.print();
  for (u32 i = 0; i < max_phases; ++i) {
    const Sample& sample = page.samples[i];
    if (sample.reached == 0) continue;
    Line entry;
    entry << "hf: phase name=" << phase_name(i) << " cycles=";
    if (sample.tsc < start) entry << "-";
    entry << (sample.tsc < start ? start - sample.tsc : sample.tsc - start) << " value=" << u64{sample.value};
    entry.print();
  }
}

}  // namespace metal
