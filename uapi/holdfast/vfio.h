/*
 * /dev/vfio/devices/vfioN: what a program includes to talk to a device file.
 *
 * Names, numbers and layouts are Linux's; written from the facts, and only the calls that Holdfast serves. The first
 * member of every struct, argsz, is the size the caller was compiled with. Plain C, no includes but <stdint.h>.
 *
 * A region is read and written with pread and pwrite at VFIO_PCI_INDEX_TO_OFFSET(index) + offset inside the region.
 */
#ifndef HOLDFAST_UAPI_VFIO_H
#define HOLDFAST_UAPI_VFIO_H

#include <stdint.h>

#define VFIO_TYPE 0x3b /* ';' */
#define VFIO_BASE 100
#define VFIO_CMD(n) ((VFIO_TYPE << 8) | (VFIO_BASE + (n)))

#define VFIO_DEVICE_GET_INFO VFIO_CMD(7)
#define VFIO_DEVICE_GET_REGION_INFO VFIO_CMD(8)
#define VFIO_DEVICE_RESET VFIO_CMD(11) /* no argument: function-level reset */
#define VFIO_DEVICE_BIND_IOMMUFD VFIO_CMD(18)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT VFIO_CMD(19)
#define VFIO_DEVICE_DETACH_IOMMUFD_PT VFIO_CMD(20)

#define VFIO_DEVICE_FLAGS_RESET (1u << 0)
#define VFIO_DEVICE_FLAGS_PCI (1u << 1)

struct vfio_device_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t num_regions;
  uint32_t num_irqs;
  uint32_t cap_offset;
  uint32_t pad;
};

#define VFIO_REGION_INFO_FLAG_READ (1u << 0)
#define VFIO_REGION_INFO_FLAG_WRITE (1u << 1)
#define VFIO_REGION_INFO_FLAG_MMAP (1u << 2)

struct vfio_region_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t cap_offset;
  uint64_t size;
  uint64_t offset;
};

enum {
  VFIO_PCI_BAR0_REGION_INDEX = 0,
  VFIO_PCI_BAR1_REGION_INDEX = 1,
  VFIO_PCI_BAR2_REGION_INDEX = 2,
  VFIO_PCI_BAR3_REGION_INDEX = 3,
  VFIO_PCI_BAR4_REGION_INDEX = 4,
  VFIO_PCI_BAR5_REGION_INDEX = 5,
  VFIO_PCI_ROM_REGION_INDEX = 6,
  VFIO_PCI_CONFIG_REGION_INDEX = 7,
  VFIO_PCI_VGA_REGION_INDEX = 8,
  VFIO_PCI_NUM_REGIONS = 9
};

enum { VFIO_PCI_NUM_IRQS = 5 };

#define VFIO_PCI_OFFSET_SHIFT 40
#define VFIO_PCI_INDEX_TO_OFFSET(index) ((uint64_t)(index) << VFIO_PCI_OFFSET_SHIFT)

#define VFIO_DEVICE_BIND_FLAG_TOKEN (1u << 0)

/* Gives the device to an iommufd. Once per open file; before it every other call fails (EINVAL). */
struct vfio_device_bind_iommufd {
  uint32_t argsz;
  uint32_t flags;
  int32_t iommufd;
  uint32_t out_devid;
  uint64_t token_uuid_ptr;
};

#define VFIO_DEVICE_ATTACH_PASID (1u << 0)

/* Attaches the device to a page table or an IOAS; attached already: replaces, with no moment in between. */
struct vfio_device_attach_iommufd_pt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pt_id; /* in: HWPT or IOAS; out: the HWPT in use */
  uint32_t pasid;
};

#define VFIO_DEVICE_DETACH_PASID (1u << 0)

struct vfio_device_detach_iommufd_pt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pasid;
};

#endif
