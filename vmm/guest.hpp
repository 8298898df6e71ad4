// The guest's file descriptors and what it does with them: build, take back, rebuild, replace.
#pragma once

#include "vmm/dma_engine_driver.hpp"
#include "vmm/session_calls.hpp"

namespace vmm {

/// Tokens of the preserved files; the session is named session_name.
namespace token {
inline constexpr u64 state = 1;
inline constexpr u64 memory = 2;
inline constexpr u64 iommufd = 3;
inline constexpr u64 first_device = 0x10;
inline constexpr u64 first_hwpt = 0x100;
}  // namespace token
inline constexpr char session_name[] = "holdfast-vmm";

/// Guest-physical address at which the memory file is mapped first.
inline constexpr u64 window_iova = u64{4} << 30;
/// Bytes between two devices' slots in a page: sequence number and its mix.
inline constexpr u32 slot_stride = 32;

struct Guest {
  i32 memory_fd = -1;
  i32 state_fd = -1;
  i32 iommufd = -1;
  i32 session_fd = -1;
  i32 device_fds[max_devices];
  u32 device_ids[max_devices]{};  // iommufd object ids
  u32 ioas_id = 0;
  u32 hwpt_ids[max_devices]{};
  u32 old_hwpt_ids[max_devices]{};  // restored ones
  u32 hwpt_count = 0;

  Guest() {
    for (i32& fd : device_fds) fd = -1;
  }
};

[[nodiscard]] inline u32 hwpt_of_device(const Options& options, u32 device) {
  return options.domains == DomainLayout::Shared ? 0 : device;
}
[[nodiscard]] inline u32 hwpt_count(const Options& options) {
  return options.domains == DomainLayout::Shared ? 1 : options.devices;
}
[[nodiscard]] hw::dma_engine::Parameters window_of(const Options& options, u32 device);

/// First generation: memory, address space, hardware page tables, devices bound and attached, engines running.
bool build_guest(Calls& calls, const Options& options, Guest& guest);
/// Marks the hardware page tables and puts everything into a named session.
bool preserve_guest(Calls& calls, const Options& options, Guest& guest);
/// Later generations: everything back by name and token. @p found says whether the session was there.
bool retrieve_guest(Calls& calls, const Options& options, Guest& guest, Presence& found);
/// New address space and page tables while the old ones translate; compared; swapped in under the running devices.
bool replace_domains(Calls& calls, const Options& options, Guest& guest);
bool finish_session(Calls& calls, Guest& guest);

}  // namespace vmm
