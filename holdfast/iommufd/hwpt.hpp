// Hwpt and DeviceObject: a hardware page table (one iommu::Domain) and a device of an iommufd.
//
// Threads: under the iommufd's mutex. Plain state; the Iommufd acts.
#pragma once

#include "holdfast/iommu/core.hpp"
#include "holdfast/iommufd/ioas.hpp"

namespace holdfast::iommufd {

enum class HwptOrigin : u8 {
  Explicit,  // IOMMU_HWPT_ALLOC
  Auto,      // made for an attach to an IOAS; goes with its last device
  Restored,  // what the previous kernel left: no IOAS, immutable
};

struct Hwpt final : Object {
  static constexpr ObjectKind object_kind = ObjectKind::Hwpt;

  Hwpt(HwptOrigin how, Ioas* of, iommu::Domain& made) : Object(object_kind), origin(how), ioas(of), domain(&made) {}

  const HwptOrigin origin;
  Ioas* const ioas;         // null: Restored
  iommu::Domain* domain;    // null: Restored, and freed by finish or drop
  std::optional<u64> mark;  // token to preserve it under
  bool preserved = false;
};

struct DeviceObject final : Object {
  static constexpr ObjectKind object_kind = ObjectKind::Device;

  explicit DeviceObject(iommu::Device& of) : Object(object_kind), device(&of) {}

  iommu::Device* const device;
  Hwpt* hwpt = nullptr;  // attached to; null also while the restored page table it goes through is not taken back yet
  bool preserved = false;
};

}  // namespace holdfast::iommufd
