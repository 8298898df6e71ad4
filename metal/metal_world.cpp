// MetalWorld: registers, log, milestones. The jump is in metal_jump.cpp.
#include "metal/metal_world.hpp"

#include "holdfast/base/text_line.hpp"
#include "metal/console.hpp"
#include "metal/cpu.hpp"
#include "metal/kept_log.hpp"
#include "metal/page_map.hpp"
#include "vmm/console.hpp"

namespace metal {
namespace {

constexpr u64 cache_line_bytes = 64;

std::string_view sample_name(u32 index) {
  return index == entered_sample ? "Entered" : name_of(static_cast<Phase>(index));
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
  TextLine start;
  start.text("kernel ").number(boot_page().generation).text(": ").text(name_of(level)).text(": ");
  const bool is_kept = is_blackout();
  for (const std::string_view piece : {start.view(), message, std::string_view("\n")}) {
    if (is_kept)
      keep_log(piece);
    else
      print(piece);
  }
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
  const TouchCounts& touched = page.touched;
  vmm::Line line("update");
  line.pair("generation", page.generation).pair("blackout_ns", x_clock.nanoseconds(blackout));
  line.pair("blackout_cycles", blackout).pair("tables", touched.tables).pair("blocks", touched.blocks);
  line.pair("records", touched.records).pair("files", touched.files).pair("frames", touched.frames);
  print_line(line.view());
  for (u32 i = 0; i < max_phases; ++i) {
    const Sample& sample = page.samples[i];
    if (sample.reached == 0) continue;
    TextLine since_start;
    if (sample.tsc < start)
      since_start.text("-").number(start - sample.tsc);
    else
      since_start.number(sample.tsc - start);
    vmm::Line entry("phase");
    entry.pair("name", sample_name(i)).pair("cycles", since_start.view()).pair("value", sample.value);
    print_line(entry.view());
  }
}

}  // namespace metal
