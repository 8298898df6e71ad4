#include "vmm/file_calls.hpp"

#include "holdfast/hw/dma_engine/registers.hpp"
#include "holdfast/hw/vtd/registers.hpp"
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
    const i64 written =
        calls.system().pwrite(memory_fd, &stamp, sizeof stamp, page * page_size_bytes + hw::dma_engine::stamp_offset);
    if (!calls.check(written, "pwrite of a page stamp")) return false;
  }
  return true;
}

bool alloc_ioas(Calls& calls, i32 iommufd, u32& id) {
  iommu_ioas_alloc alloc{};
  alloc.size = sizeof alloc;
  if (!ioctl(calls, iommufd, IOMMU_IOAS_ALLOC, alloc, "IOMMU_IOAS_ALLOC")) return false;
  id = alloc.out_ioas_id;
  return true;
}

bool forbid_huge_pages(Calls& calls, i32 iommufd, u32 ioas_id) {
  iommu_option option{};
  option.size = sizeof option;
  option.option_id = IOMMU_OPTION_HUGE_PAGES;
  option.op = IOMMU_OPTION_OP_SET;
  option.object_id = ioas_id;
  option.val64 = 0;
  return ioctl(calls, iommufd, IOMMU_OPTION, option, "IOMMU_OPTION");
}

bool map_range(Calls& calls, i32 iommufd, u32 ioas_id, const Mapping& mapping) {
  iommu_ioas_map_file map{};
  map.size = sizeof map;
  map.flags = static_cast<u32>(IOMMU_IOAS_MAP_FIXED_IOVA);
  if (mapping.access != Access::Read) map.flags |= static_cast<u32>(IOMMU_IOAS_MAP_WRITEABLE);
  if (mapping.access != Access::Write) map.flags |= static_cast<u32>(IOMMU_IOAS_MAP_READABLE);
  map.ioas_id = ioas_id;
  map.fd = mapping.fd;
  map.start = mapping.offset;
  map.length = mapping.length;
  map.iova = mapping.iova;
  return ioctl(calls, iommufd, IOMMU_IOAS_MAP_FILE, map, "IOMMU_IOAS_MAP_FILE");
}

bool map_file(Calls& calls, i32 iommufd, u32 ioas_id, i32 memory_fd, u64 file_bytes, u64 iova) {
  const Mapping whole{.fd = memory_fd, .access = Access::ReadWrite, .offset = 0, .length = file_bytes, .iova = iova};
  return map_range(calls, iommufd, ioas_id, whole);
}

bool read_address_bits(Calls& calls, i32 iommufd, u32 device_id, u32& bits) {
  iommu_hw_info_vtd unit{};
  iommu_hw_info info{};
  info.size = sizeof info;
  info.dev_id = device_id;
  info.data_len = sizeof unit;
  info.data_uptr = reinterpret_cast<u64>(&unit);
  if (!ioctl(calls, iommufd, IOMMU_GET_HW_INFO, info, "IOMMU_GET_HW_INFO")) return false;
  bits = 64;
  if (info.out_data_type == static_cast<u32>(IOMMU_HW_INFO_TYPE_INTEL_VTD))
    bits = static_cast<u32>(hw::vtd::Cap(unit.cap_reg).get<hw::vtd::cap::Mgaw>()) + 1;
  return true;
}

bool alloc_hwpt(Calls& calls, i32 iommufd, u32 device_id, u32 ioas_id, u32& id) {
  iommu_hwpt_alloc alloc{};
  alloc.size = sizeof alloc;
  alloc.dev_id = device_id;
  alloc.pt_id = ioas_id;
  if (!ioctl(calls, iommufd, IOMMU_HWPT_ALLOC, alloc, "IOMMU_HWPT_ALLOC")) return false;
  id = alloc.out_hwpt_id;
  return true;
}

bool mark_hwpt(Calls& calls, i32 iommufd, u32 hwpt_id, u64 token) {
  iommu_hwpt_liveupdate_mark_preserve mark{};
  mark.size = sizeof mark;
  mark.hwpt_id = hwpt_id;
  mark.hwpt_token = token;
  return ioctl(calls, iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, mark, "IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE");
}

bool restore_hwpt(Calls& calls, i32 iommufd, u64 token, u32& id) {
  iommu_hwpt_restore restore{};
  restore.size = sizeof restore;
  restore.hwpt_token = token;
  if (!ioctl(calls, iommufd, IOMMU_HWPT_RESTORE, restore, "IOMMU_HWPT_RESTORE")) return false;
  id = restore.out_hwpt_id;
  return true;
}

bool compare_hwpts(Calls& calls, i32 iommufd, u32 old_id, u32 new_id) {
  iommu_hwpt_compare compare{};
  compare.size = sizeof compare;
  compare.old_id = old_id;
  compare.new_id = new_id;
  if (!ioctl(calls, iommufd, IOMMU_HWPT_COMPARE, compare, "IOMMU_HWPT_COMPARE")) return false;
  const bool equal = (compare.out_flags & static_cast<u32>(IOMMU_HWPT_COMPARE_EQUAL)) != 0;
  return calls.check(equal ? 0 : -to_errno(Code::Mismatch), "comparison of the old with the new page table");
}

bool destroy_object(Calls& calls, i32 iommufd, u32 id) {
  iommu_destroy destroy{};
  destroy.size = sizeof destroy;
  destroy.id = id;
  return ioctl(calls, iommufd, IOMMU_DESTROY, destroy, "IOMMU_DESTROY");
}

}  // namespace vmm
