#include "vmm/guest.hpp"

#include "uapi/holdfast/holdfast.h"
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
  if (options.leaves == LeafChoice::Only4K) {
    iommu_option option{};
    option.size = sizeof option;
    option.option_id = IOMMU_OPTION_HUGE_PAGES;
    option.op = IOMMU_OPTION_OP_SET;
    option.object_id = guest.ioas_id;
    option.val64 = 0;
    if (!ioctl(calls, guest.iommufd, IOMMU_OPTION, option, "IOMMU_OPTION")) return false;
  }
  for (u64 at = 0; at < options.mapped_bytes; at += options.file_bytes)
    if (!map_file(calls, guest.iommufd, guest.ioas_id, guest.memory_fd, options.file_bytes, window_iova + at))
      return false;
  return true;
}

/// One hardware page table per domain over guest.ioas_id.
bool build_page_tables(Calls& calls, const Options& options, Guest& guest) {
  guest.hwpt_count = hwpt_count(options);
  for (u32 i = 0; i < guest.hwpt_count; ++i) {
    iommu_hwpt_alloc alloc{};
    alloc.size = sizeof alloc;
    alloc.dev_id = guest.device_ids[i];
    alloc.pt_id = guest.ioas_id;
    if (!ioctl(calls, guest.iommufd, IOMMU_HWPT_ALLOC, alloc, "IOMMU_HWPT_ALLOC")) return false;
    guest.hwpt_ids[i] = alloc.out_hwpt_id;
  }
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

bool preserve_file(Calls& calls, i32 session, i32 fd, u64 token, const char* step) {
  liveupdate_session_preserve_fd preserve{};
  preserve.size = sizeof preserve;
  preserve.fd = fd;
  preserve.token = token;
  return ioctl(calls, session, LIVEUPDATE_SESSION_PRESERVE_FD, preserve, step);
}

bool retrieve_file(Calls& calls, i32 session, u64 token, i32& fd, const char* step) {
  liveupdate_session_retrieve_fd retrieve{};
  retrieve.size = sizeof retrieve;
  retrieve.token = token;
  if (!ioctl(calls, session, LIVEUPDATE_SESSION_RETRIEVE_FD, retrieve, step)) return false;
  fd = retrieve.fd;
  return true;
}

template <class T>
void name_session(T& argument) {
  argument.size = sizeof argument;
  for (u64 i = 0; i < sizeof session_name; ++i) argument.name[i] = static_cast<u8>(session_name[i]);
}

bool mark_page_tables(Calls& calls, Guest& guest) {
  for (u32 i = 0; i < guest.hwpt_count; ++i) {
    iommu_hwpt_liveupdate_mark_preserve mark{};
    mark.size = sizeof mark;
    mark.hwpt_id = guest.hwpt_ids[i];
    mark.hwpt_token = token::first_hwpt + i;
    if (!ioctl(calls, guest.iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, mark, "IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE"))
      return false;
  }
  return true;
}

bool restore_and_compare(Calls& calls, Guest& guest) {
  for (u32 i = 0; i < guest.hwpt_count; ++i) {
    iommu_hwpt_restore restore{};
    restore.size = sizeof restore;
    restore.hwpt_token = token::first_hwpt + i;
    if (!ioctl(calls, guest.iommufd, IOMMU_HWPT_RESTORE, restore, "IOMMU_HWPT_RESTORE")) return false;
    guest.old_hwpt_ids[i] = restore.out_hwpt_id;

    iommu_hwpt_compare compare{};
    compare.size = sizeof compare;
    compare.old_id = guest.old_hwpt_ids[i];
    compare.new_id = guest.hwpt_ids[i];
    if (!ioctl(calls, guest.iommufd, IOMMU_HWPT_COMPARE, compare, "IOMMU_HWPT_COMPARE")) return false;
    const bool equal = (compare.out_flags & static_cast<u32>(IOMMU_HWPT_COMPARE_EQUAL)) != 0;
    if (!calls.check(equal ? 0 : -to_errno(Code::Mismatch), "comparison of the old with the new page table")) return false;
  }
  return true;
}

bool destroy_object(Calls& calls, i32 iommufd, u32 id) {
  iommu_destroy destroy{};
  destroy.size = sizeof destroy;
  destroy.id = id;
  return ioctl(calls, iommufd, IOMMU_DESTROY, destroy, "IOMMU_DESTROY");
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
  const i32 device = static_cast<i32>(calls.system().open("/dev/liveupdate"));
  if (!calls.check(device, "open of /dev/liveupdate")) return false;
  liveupdate_ioctl_create_session create{};
  name_session(create);
  const bool created = ioctl(calls, device, LIVEUPDATE_IOCTL_CREATE_SESSION, create, "LIVEUPDATE_IOCTL_CREATE_SESSION");
  calls.system().close(device);
  if (!created) return false;
  guest.session_fd = create.fd;
  // Memory before the address space that maps it, that before the devices attached through it.
  if (!preserve_file(calls, guest.session_fd, guest.state_fd, token::state, "preserve of the VMM's state")) return false;
  if (!preserve_file(calls, guest.session_fd, guest.memory_fd, token::memory, "preserve of guest memory")) return false;
  if (!preserve_file(calls, guest.session_fd, guest.iommufd, token::iommufd, "preserve of the iommufd")) return false;
  for (u32 i = 0; i < options.devices; ++i)
    if (!preserve_file(calls, guest.session_fd, guest.device_fds[i], token::first_device + i, "preserve of a device"))
      return false;
  return true;
}

bool retrieve_guest(Calls& calls, const Options& options, Guest& guest, Presence& found) {
  found = Presence::Absent;
  const i32 device = static_cast<i32>(calls.system().open("/dev/liveupdate"));
  if (!calls.check(device, "open of /dev/liveupdate")) return false;
  liveupdate_ioctl_retrieve_session retrieve{};
  name_session(retrieve);
  const i64 answer = calls.system().ioctl(device, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, &retrieve);
  calls.system().close(device);
  if (answer == -to_errno(Code::NotFound)) return true;
  if (!calls.check(answer, "LIVEUPDATE_IOCTL_RETRIEVE_SESSION")) return false;
  found = Presence::Present;
  guest.session_fd = retrieve.fd;
  if (!retrieve_file(calls, guest.session_fd, token::state, guest.state_fd, "retrieve of the VMM's state")) return false;
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

bool finish_session(Calls& calls, Guest& guest) {
  liveupdate_session_finish finish{};
  finish.size = sizeof finish;
  if (!ioctl(calls, guest.session_fd, LIVEUPDATE_SESSION_FINISH, finish, "LIVEUPDATE_SESSION_FINISH")) return false;
  const i64 closed = calls.system().close(guest.session_fd);
  guest.session_fd = -1;
  return calls.check(closed, "close of the session");
}

}  // namespace vmm
