// MetalWorld: the World of a kernel that runs on the machine itself: RAM through a direct map, registers as they are,
// one processor, no interrupts.
//
// The boot page is its memory of the update: milestones with time stamps, log lines that the blackout keeps back, what
// the next kernel needs. Threads: one. Nothing of it survives the jump but the boot page.
#pragma once

#include <optional>

#include "holdfast/base/locks.hpp"
#include "holdfast/base/world.hpp"
#include "metal/boot_page.hpp"
#include "metal/clock.hpp"
#include "metal/options.hpp"

namespace metal {

/// The sample taken first of all after a jump, before the kernel has looked at anything but the boot page.
inline constexpr u32 entered_sample = max_phases - 1;

/// How far the live update came that this kernel was asked for and has not made.
enum class UpdateAttempt : u8 {
  None,
  Refused,   // before the blackout
  CameBack,  // after the last consent: the blackout ended in this kernel
};

/// Fills samples[@p index].
void take_sample(u32 index);

class MetalWorld final : public World {
 public:
  MetalWorld(const Options& options, const PhysRange& own_image);
  MetalWorld(const MetalWorld&) = delete;
  MetalWorld& operator=(const MetalWorld&) = delete;

  void set_clock(u64 tsc_hz) { x_clock.set_rate(tsc_hz); }
  [[nodiscard]] const Clock& clock() const { return x_clock; }
  /// Where the next image is put (Kernel::image_area()).
  void set_image_area(const PhysRange& area) { x_image_area = area; }
  /// Breaks what metal.sabotage names; called between the last act of the kernel and the jump.
  class Saboteur {
   public:
    virtual void act(World& world) = 0;

   protected:
    ~Saboteur() = default;
  };
  void set_saboteur(Saboteur& saboteur) { x_saboteur = &saboteur; }
  [[nodiscard]] UpdateAttempt update_attempt() const { return x_attempt; }

  [[nodiscard]] std::byte* direct_map() const override { return x_direct_map; }
  u64 mmio_read(PhysAddr address, Width width) override;
  void mmio_write(PhysAddr address, Width width, u64 value) override;
  [[nodiscard]] u64 now_ns() override { return x_clock.now_ns(); }
  void relax() override { asm volatile("pause"); }
  void log(LogLevel level, std::string_view message) override;
  [[nodiscard]] ThreadLocks& thread_locks() override { return x_locks; }
  void flush_cache(const void* start, std::size_t size_bytes) override;
  void phase(Phase phase, const TouchCounts& touched) override;
  Result<u64> read_next_image_note(std::span<std::byte> buffer) override;
  /// The next kernel replaces all translations at once: dropping pieces of this one's would cost and save nothing.
  Status prepare_jump(std::span<const PhysRange>) override { return {}; }
  void cancel_jump() override {}
  Code jump(const Handover& handover) override;

 private:
  [[nodiscard]] bool is_blackout() const;
  /// Waits with BootPage::holding = @p where: metal.hold_us, or until somebody outside clears it.
  void hold(u32 where);
  void print_update();
  Result<u64> stage(class NextImage& image, std::span<std::byte> buffer);

  const Options& x_options;
  PhysRange x_own_image;
  std::byte* x_direct_map;
  Clock x_clock;
  ThreadLocks x_locks;
  PhysRange x_image_area;
  std::optional<u64> x_next_entry;  // physical address; set when an image is staged
  Saboteur* x_saboteur = nullptr;
  UpdateAttempt x_attempt = UpdateAttempt::None;
};

}  // namespace metal
