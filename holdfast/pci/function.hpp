// Function: one PCI function that the walk found. Plain data, made by Pci::scan(); lives as long as the Pci.
#pragma once

#include <array>

#include "holdfast/base/list.hpp"
#include "holdfast/hw/pci/config.hpp"
#include "holdfast/iommu/device.hpp"

namespace holdfast::pci {

struct Function {
  struct Bar {
    PhysRange range;  // size 0: not there, or part of the one before
    bool is_io = false;
    bool is_64bit = false;
    bool is_prefetchable = false;
  };

  u16 segment = 0;
  SourceId id;
  u16 vendor = 0;
  u16 device = 0;
  u32 class_revision = 0;  // offset 8
  bool is_bridge = false;
  Function* upstream = nullptr;  // the bridge above; nullptr on a root bus
  std::array<Bar, hw::pci::bar_count> bars{};
  iommu::Device* iommu_device = nullptr;  // endpoints that a unit covers
  bool is_incoming = false;               // the previous kernel kept it running
  u32 preserved = 0;                      // outgoing: this endpoint, or endpoints below this bridge
  ListHook link;
};

}  // namespace holdfast::pci
