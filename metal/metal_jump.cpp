// The jump of the bare-metal world: the next image is put in its place while everything can still be refused; later a
// branch is left.
#include "holdfast/base/text_line.hpp"
#include "metal/cpu.hpp"
#include "metal/elf_image.hpp"
#include "metal/image_slots.hpp"
#include "metal/metal_world.hpp"
#include "metal/next_image.hpp"

namespace metal {
namespace {

[[noreturn]] void enter(u64 entry) {
  asm volatile("cli; jmp *%0" : : "r"(entry) : "memory");
  __builtin_unreachable();
}

std::string_view reason_of(Code code) {
  switch (code) {
    case Code::NotFound:
      return "there is none: start the machine with -initrd IMAGE, or with -fw_cfg "
             "name=opt/holdfast/next-image,file=IMAGE";
    case Code::TooBig: return "it does not fit into the place for images in scratch";
    case Code::Corrupt: return "the running image does not lie in one of the places for images in scratch";
    case Code::Io: return "it is shorter than it says, or cannot be read";
    default: return "it is not a whole, position-independent x86-64 ELF program with the note \"Holdfast\"";
  }
}

}  // namespace

Result<u64> MetalWorld::read_next_image_note(std::span<std::byte> buffer) {
  x_next_entry.reset();
  const BootPage& page = boot_page();
  const std::span<const std::byte> module(reinterpret_cast<const std::byte*>(page.module_start), page.module_bytes);
  auto image = NextImage::open(module);
  Result<u64> length = image.ok() ? stage(*image, buffer) : Result<u64>(image.code());
  if (!length.ok()) {
    TextLine line;
    log(LogLevel::Error, line.text("the next image cannot be used: ").text(reason_of(length.code())).view());
  }
  return length;
}

/// Puts the image where it will run, and asks it what it reads.
Result<u64> MetalWorld::stage(NextImage& image, std::span<std::byte> buffer) {
  TRY_ASSIGN(const PhysRange slot, free_slot(x_image_area, x_own_image));
  TRY_ASSIGN(const u64 entry,
             load_image(image.file(), {reinterpret_cast<std::byte*>(slot.start.value), slot.size_bytes}));
  TRY_ASSIGN(const u64 length, host::read_elf_note(image.file(), "Holdfast", buffer));
  x_next_entry = slot.start.value + entry;
  return length;
}

void MetalWorld::hold(u32 where) {
  if (x_options.hold_us == 0) return;
  u32& holding = boot_page().holding;
  const u64 start = now_ns();
  __atomic_store_n(&holding, where, __ATOMIC_RELEASE);  // partner: whoever maps guest RAM and looks
  while (now_ns() - start < x_options.hold_us * 1000 && __atomic_load_n(&holding, __ATOMIC_ACQUIRE) != 0) relax();
  __atomic_store_n(&holding, u32{0}, __ATOMIC_RELEASE);
}

Code MetalWorld::jump(const Handover& handover) {
  if (!x_next_entry) return Code::NotFound;
  if (x_saboteur != nullptr) x_saboteur->act(*this);
  BootPage& page = boot_page();
  page.handover = handover;
  ++page.generation;
  ++page.jumps;
  hold(holds_before_branch);
  enter(*x_next_entry);
}

}  // namespace metal
