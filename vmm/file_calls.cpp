#include "vmm/file_calls.hpp"

#include "holdfast/hw/dma_engine/registers.hpp"
#include "uapi/holdfast/holdfast.h"

namespace vmm {

bool open_device(Calls& calls, u32 index, i32& fd) {
  char path[] = "/dev/vfio/devices/vfio00";
  constexpr u64 digits_at = sizeof path - 3;
  path[digits_at] = static_cast<char>(index < 10 ? '0' + index : '1');
  path[digits_at + 1] = static_cast<char>(index < 10 ? 0 : '0' + index - 10);
  fd = static_cast<i32>(calls.system().open(path));
  return calls.check(fd, "open of a VFIO device");
}

bool bind_device(Calls& calls, i32 device_fd, i32 iommufd, u32& id) {
  vfio_device_bind_iommufd bind{};
  bind.argsz = sizeof bind;
  bind.iommufd = iommufd;
  if (!ioctl(calls, device_fd, VFIO_DEVICE_BIND_IOMMUFD, bind, "VFIO_DEVICE_BIND_IOMMUFD")) return false;
  id = bind.out_devid;
  return true;
}

bool attach_device(Calls& calls, i32 device_fd, u32 pt_id) {
  vfio_device_attach_iommufd_pt attach{};
  attach.argsz = sizeof attach;
  attach.pt_id = pt_id;
  return ioctl(calls, device_fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, attach, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
}

bool create_memory(Calls& calls, const char* name, u64 size_bytes, i32& fd) {
  Syscalls& system = calls.system();
  fd = static_cast<i32>(system.memfd_create(name));
  return calls.check(fd, "memfd_create") && calls.check(system.ftruncate(fd, size_bytes), "ftruncate") &&
         calls.check(system.add_seals(fd, F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK), "F_ADD_SEALS");
}

bool write_stamps(Calls& calls, i32 memory_fd, u64 file_bytes) {
  for (u64 page = 0; page < file_bytes / page_size_bytes; ++page) {
    const hw::dma_engine::Slot stamp = hw::dma_engine::stamp_content(page);
    const i64 written = calls.system().pwrite(memory_fd, &stamp, sizeof stamp,
                                              page * page_size_bytes + hw::dma_engine::stamp_offset);
    if (!calls.check(written, "pwrite of a page stamp")) return false;
  }
  return true;
}

bool map_file(Calls& calls, i32 iommufd, u32 ioas_id, i32 memory_fd, u64 file_bytes, u64 iova) {
  iommu_ioas_map_file map{};
  map.size = sizeof map;
  map.flags = static_cast<u32>(IOMMU_IOAS_MAP_FIXED_IOVA) | static_cast<u32>(IOMMU_IOAS_MAP_WRITEABLE) |
              static_cast<u32>(IOMMU_IOAS_MAP_READABLE);
  map.ioas_id = ioas_id;
  map.fd = memory_fd;
  map.length = file_bytes;
  map.iova = iova;
  return ioctl(calls, iommufd, IOMMU_IOAS_MAP_FILE, map, "IOMMU_IOAS_MAP_FILE");
}

bool alloc_ioas(Calls& calls, i32 iommufd, u32& id) {
  iommu_ioas_alloc alloc{};
  alloc.size = sizeof alloc;
  if (!ioctl(calls, iommufd, IOMMU_IOAS_ALLOC, alloc, "IOMMU_IOAS_ALLOC")) return false;
  id = alloc.out_ioas_id;
  return true;
}

}  // namespace vmm
