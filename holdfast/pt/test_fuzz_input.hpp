// Support of the fuzzers (never part of the library): numbers out of an input, and the shapes of tables that can be.
#pragma once

#include <array>
#include <cstring>
#include <span>

#include "holdfast/pt/types.hpp"

namespace holdfast::pt {

/// Takes numbers from the front of an input; zeros when it is used up.
class FuzzInput {
 public:
  FuzzInput(const u8* data, std::size_t size) : x_left(data, size) {}

  [[nodiscard]] bool empty() const { return x_left.empty(); }
  template <class T>
  T take() {
    T value{};
    const std::size_t count = std::min(sizeof(T), x_left.size());
    std::memcpy(&value, x_left.data(), count);
    x_left = x_left.subspan(count);
    return value;
  }
  /// Below @p end, which is not 0.
  u64 below(u64 end) { return end <= 256 ? take<u8>() % end : take<u32>() % end; }

 private:
  std::span<const u8> x_left;
};

/// One tree that each format can be asked for; the fuzzers choose by index.
inline constexpr TableConfig fuzz_shapes[] = {
    {.format = Format::VtdSecondStage, .levels = 3, .iova_bits = 39, .page_sizes = 0x40201000},
    {.format = Format::VtdSecondStage, .levels = 5, .iova_bits = 57, .page_sizes = 0x201000},
    {.format = Format::X86FirstStage,
     .levels = 4,
     .iova_bits = 48,
     .page_sizes = 0x40201000,
     .extent = IovaExtent::SignExtended},
    {.format = Format::AmdV1, .levels = 4, .iova_bits = 48, .page_sizes = 0x7ffffff000},
    {.format = Format::AmdV1, .levels = 6, .iova_bits = 64, .page_sizes = 0xff000},
    {.format = Format::RiscvFirstStage,
     .levels = 3,
     .iova_bits = 39,
     .page_sizes = 0x40211000,
     .extent = IovaExtent::SignExtended},
    {.format = Format::RiscvSecondStage, .levels = 3, .iova_bits = 41, .page_sizes = 0x40211000},
    {.format = Format::ArmStage1Granule4K, .levels = 4, .iova_bits = 48, .page_sizes = 0x42211000},
    {.format = Format::ArmStage1Granule16K,
     .levels = 3,
     .iova_bits = 47,
     .page_sizes = 0x42204000,
     .extent = IovaExtent::Upper},
    {.format = Format::ArmStage1Granule64K,
     .levels = 2,
     .iova_bits = 42,
     .page_sizes = 0x420210000,
     .features = Features::DirtyTracking | Features::Exchange},
    {.format = Format::ArmStage2Granule4K,
     .levels = 3,
     .iova_bits = 43,
     .page_sizes = 0x42211000,
     .features = Features::Exchange},
    {.format = Format::ArmStage2Granule16K, .levels = 2, .iova_bits = 37, .phys_bits = 40, .page_sizes = 0x2004000},
    {.format = Format::ArmStage2Granule64K, .levels = 2, .iova_bits = 42, .page_sizes = 0x20010000},
};

}  // namespace holdfast::pt
