// The few system calls that both the guest and the bystander make on device and memory files.
#pragma once

#include "vmm/call.hpp"

namespace vmm {

template <class T>
bool ioctl(Calls& calls, i32 fd, u32 command, T& argument, const char* step) {
  return calls.check(calls.system().ioctl(fd, command, &argument), step);
}

/// Opens /dev/vfio/devices/vfio<index>, index < 20.
bool open_device(Calls& calls, u32 index, i32& fd);
bool bind_device(Calls& calls, i32 device_fd, i32 iommufd, u32& id);
bool attach_device(Calls& calls, i32 device_fd, u32 pt_id);

/// A sealed memory file: the pages that devices reach are then the file's for as long as it lives.
bool create_memory(Calls& calls, const char* name, u64 size_bytes, i32& fd);
/// Every page says which one it is: a device that reads through a wrong translation sees it.
bool write_stamps(Calls& calls, i32 memory_fd, u64 file_bytes);
/// Maps the whole file once, readable and writable, at @p iova.
bool map_file(Calls& calls, i32 iommufd, u32 ioas_id, i32 memory_fd, u64 file_bytes, u64 iova);
bool alloc_ioas(Calls& calls, i32 iommufd, u32& id);

}  // namespace vmm
