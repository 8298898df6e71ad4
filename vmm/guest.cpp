#include "vmm/guest.hpp"

#include "vmm/file_calls.hpp"

namespace vmm {
namespace {

/// What the next generation must find as it was: kept in a preserved memory file.
struct State {
  u64 magic = 0x31766d6d76646c68;  // "hldvmmv1"
  u32 devices = 0;
  u32 hwpts = 0;
  u64 file_bytes = 0;
  u64 mapped_bytes = 0;
};

/// A new IOAS with the memory file mapped over the whole window, once per file length.
bool build_address_space(Calls& calls, const Options& options, Guest& guest) {
  if (!alloc_ioas(calls, guest.iommufd, guest.ioas_id)) return false;
  if (options.leaves == LeafChoice::Only4K && !forbid_huge_pages(calls, guest.iommufd, guest.ioas_id)) return false;
  for (u64 at = 0; at < options.mapped_bytes; at += options.file_bytes)
    if (!map_file(calls, guest.iommufd, guest.ioas_id, guest.memory_fd, options.file_bytes, window_iova + at))
      return false;
  return true;
}

/// One hardware page table per domain over guest.ioas_id.
bool build_page_tables(Calls& calls, const Options& options, Guest& guest) {
  guest.hwpt_count = hwpt_count(options);
  for (u32 i = 0; i < guest.hwpt_count; ++i)
    if (!alloc_hwpt(calls, guest.iommufd, guest.device_ids[i], guest.ioas_id, guest.hwpt_ids[i])) return false;
  return true;
}

bool attach_all(Calls& calls, const Options& options, Guest& guest) {
  for (u32 i = 0; i < options.devices; ++i)
    if (!attach_device(calls, guest.device_fds[i], guest.hwpt_ids[hwpt_of_device(options, i)])) return false;
  return true;
}

bool write_state(Calls& calls, const Options& options, Guest& guest) {
  if (!create_memory(calls, "holdfast-vmm-state", page_size_bytes, guest.state_fd)) return false;
  State state;
  state.devices = options.devices;
  state.hwpts = hwpt_count(options);
  state.file_bytes = options.file_bytes;
  state.mapped_bytes = options.mapped_bytes;
  return calls.check(calls.system().pwrite(guest.state_fd, &state, sizeof state, 0), "pwrite of the VMM's state");
}

bool check_state(Calls& calls, const Options& options, Guest& guest) {
  State state{};
  if (!calls.check(calls.system().pread(guest.state_fd, &state, sizeof state, 0), "pread of the VMM's state"))
    return false;
  const bool same = state.magic == State{}.magic && state.devices == options.devices &&
                    state.hwpts == hwpt_count(options) && state.file_bytes == options.file_bytes &&
                    state.mapped_bytes == options.mapped_bytes;
  return calls.check(same ? 0 : -to_errno(Code::Corrupt), "comparison of the VMM's state with its options");
}

bool mark_page_tables(Calls& calls, Guest& guest) {
  for (u32 i = 0; i < guest.hwpt_count; ++i)
    if (!mark_hwpt(calls, guest.iommufd, guest.hwpt_ids[i], token::first_hwpt + i)) return false;
  return true;
}

bool restore_and_compare(Calls& calls, Guest& guest) {
  for (u32 i = 0; i < guest.hwpt_count; ++i) {
    if (!restore_hwpt(calls, guest.iommufd, token::first_hwpt + i, guest.old_hwpt_ids[i])) return false;
    if (!compare_hwpts(calls, guest.iommufd, guest.old_hwpt_ids[i], guest.hwpt_ids[i])) return false;
  }
  return true;
}

}  // namespace

hw::dma_engine::Parameters window_of(const Options& options, u32 device) {
  return {window_iova, options.mapped_bytes, options.file_bytes, device * slot_stride,
          static_cast<u32>(options.seed * 2654435761u + device * 2 + 1)};
}

bool build_guest(Calls& calls, const Options& options, Guest& guest) {
  if (!create_memory(calls, "holdfast-vmm-memory", options.file_bytes, guest.memory_fd)) return false;
  if (!write_stamps(calls, guest.memory_fd, options.file_bytes) || !write_state(calls, options, guest)) return false;
  guest.iommufd = static_cast<i32>(calls.system().open("/dev/iommu"));
  if (!calls.check(guest.iommufd, "open of /dev/iommu")) return false;
  for (u32 i = 0; i < options.devices; ++i) {
    if (!open_device(calls, i, guest.device_fds[i])) return false;
    if (!bind_device(calls, guest.device_fds[i], guest.iommufd, guest.device_ids[i])) return false;
  }
  if (!build_address_space(calls, options, guest) || !build_page_tables(calls, options, guest)) return false;
  if (!attach_all(calls, options, guest)) return false;
  for (u32 i = 0; i < options.devices; ++i)
    if (!DmaEngine(calls, guest.device_fds[i]).start(window_of(options, i))) return false;
  return true;
}

bool preserve_guest(Calls& calls, const Options& options, Guest& guest) {
  if (!mark_page_tables(calls, guest)) return false;
  if (!create_session(calls, session_name, guest.session_fd)) return false;
  // Memory before the address space that maps it, that before the devices attached through it.
  if (!preserve_file(calls, guest.session_fd, guest.state_fd, token::state, "preserve of the VMM's state"))
    return false;
  if (!preserve_file(calls, guest.session_fd, guest.memory_fd, token::memory, "preserve of guest memory")) return false;
  if (!preserve_file(calls, guest.session_fd, guest.iommufd, token::iommufd, "preserve of the iommufd")) return false;
  for (u32 i = 0; i < options.devices; ++i)
    if (!preserve_file(calls, guest.session_fd, guest.device_fds[i], token::first_device + i, "preserve of a device"))
      return false;
  return true;
}

bool retrieve_guest(Calls& calls, const Options& options, Guest& guest, Presence& found) {
  if (!retrieve_session(calls, session_name, guest.session_fd, found)) return false;
  if (found == Presence::Absent) return true;
  if (!retrieve_file(calls, guest.session_fd, token::state, guest.state_fd, "retrieve of the VMM's state"))
    return false;
  if (!check_state(calls, options, guest)) return false;
  if (!retrieve_file(calls, guest.session_fd, token::memory, guest.memory_fd, "retrieve of guest memory")) return false;
  if (!retrieve_file(calls, guest.session_fd, token::iommufd, guest.iommufd, "retrieve of the iommufd")) return false;
  for (u32 i = 0; i < options.devices; ++i) {
    if (!retrieve_file(calls, guest.session_fd, token::first_device + i, guest.device_fds[i], "retrieve of a device"))
      return false;
    if (!bind_device(calls, guest.device_fds[i], guest.iommufd, guest.device_ids[i])) return false;
  }
  return true;
}

bool replace_domains(Calls& calls, const Options& options, Guest& guest) {
  if (!build_address_space(calls, options, guest) || !build_page_tables(calls, options, guest)) return false;
  if (!restore_and_compare(calls, guest)) return false;
  if (!attach_all(calls, options, guest)) return false;
  for (u32 i = 0; i < guest.hwpt_count; ++i)
    if (!destroy_object(calls, guest.iommufd, guest.old_hwpt_ids[i])) return false;
  return true;
}

bool finish_session(Calls& calls, Guest& guest) { return finish_session(calls, guest.session_fd); }

}  // namespace vmm
