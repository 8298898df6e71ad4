// The system calls that guest programs make on device files, memory files and an iommufd, one function each.
//
// All of them: true on success; a failure is kept in Calls together with the call's name.
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

enum class Access : u32 { Read, Write, ReadWrite };

/// [offset, offset + length) of a memory file, seen by devices at @p iova.
struct Mapping {
  i32 fd = -1;
  Access access = Access::ReadWrite;
  u64 offset = 0;
  u64 length = 0;
  u64 iova = 0;
};

bool alloc_ioas(Calls& calls, i32 iommufd, u32& id);
/// Page tables of this address space have 4 KiB leaves only. Before anything is mapped.
bool forbid_huge_pages(Calls& calls, i32 iommufd, u32 ioas_id);
bool map_range(Calls& calls, i32 iommufd, u32 ioas_id, const Mapping& mapping);
/// Maps the whole file once, readable and writable, at @p iova.
bool map_file(Calls& calls, i32 iommufd, u32 ioas_id, i32 memory_fd, u64 file_bytes, u64 iova);
/// How many address bits the unit of that device translates (VT-d: MGAW; other units do not say: 64).
bool read_address_bits(Calls& calls, i32 iommufd, u32 device_id, u32& bits);
/// A hardware page table that maps what the address space maps, for the unit of that device.
bool alloc_hwpt(Calls& calls, i32 iommufd, u32 device_id, u32 ioas_id, u32& id);
bool mark_hwpt(Calls& calls, i32 iommufd, u32 hwpt_id, u64 token);
bool restore_hwpt(Calls& calls, i32 iommufd, u64 token, u32& id);
/// Fails with Mismatch unless the new page table maps every address of the old one to the same memory.
bool compare_hwpts(Calls& calls, i32 iommufd, u32 old_id, u32 new_id);
bool destroy_object(Calls& calls, i32 iommufd, u32 id);

}  // namespace vmm
