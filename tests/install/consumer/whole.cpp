// A kernel on RAM without firmware: it must say that it found no ACPI tables. Linking it takes every archive.
#include <cstdio>
#include <vector>

#include "holdfast/kernel/kernel.hpp"
#include "holdfast/memory/own_ram.hpp"

static_assert(!holdfast::traced, "the archives are the plain build");

int main() {
  using namespace holdfast;
  std::vector<std::byte> bytes((std::size_t{64} << 20) + page_size_bytes);
  const auto past_page = reinterpret_cast<std::uintptr_t>(bytes.data()) % page_size_bytes;
  const std::span<std::byte> ram(bytes.data() + (page_size_bytes - past_page), std::size_t{64} << 20);
  const MemoryRange range{{PhysAddr(0), ram.size()}};
  OwnRam world(ram, PhysAddr(0));
  kernel::Kernel kernel(world, {.memory_map = {&range, 1}});
  const std::string_view answer = errno_name(kernel.boot().code());
  std::printf("boot: %.*s\n", static_cast<int>(answer.size()), answer.data());
}
