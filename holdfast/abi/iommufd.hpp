// "holdfast-iommufd-v1": the hardware page tables of one iommufd that crossed, by token.
//
// Contract: ours, plain data, native endian, every offset asserted: one block of preserved memory, this header and
// nr_hwpts entries right behind it. The checksum is over header and entries (abi::checksum, field offset of
// Header::checksum).
#pragma once

#include <cstddef>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace holdfast::abi::iommufd {

inline constexpr std::string_view compatible = "holdfast-iommufd-v1";

struct Header {
  u64 nr_hwpts;
  u64 flags;  // 0
  u64 checksum;
};
static_assert(sizeof(Header) == 24);
static_assert(offsetof(Header, nr_hwpts) == 0 && offsetof(Header, flags) == 8 && offsetof(Header, checksum) == 16);

struct Hwpt {
  u64 token;        // from the mark
  u64 domain_phys;  // the iommu::Domain record
  u64 page_sizes;   // leaf sizes that the address space allowed (IOMMU_OPTION_HUGE_PAGES): a mask, 0 = all
};
static_assert(sizeof(Hwpt) == 24);
static_assert(offsetof(Hwpt, token) == 0 && offsetof(Hwpt, domain_phys) == 8 && offsetof(Hwpt, page_sizes) == 16);

}  // namespace holdfast::abi::iommufd
