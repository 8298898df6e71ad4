/*
 * /dev/iommu: what a program includes to talk to it.
 *
 * Names, numbers and layouts are Linux's, so that a program written for Linux finds what it expects; the header itself
 * is written from the facts, and holds only the calls that Holdfast serves. Our own additions stand at the end, apart.
 *
 * Every call takes a pointer to its struct. The first member, size, is the size the caller was compiled with: a shorter
 * struct is extended with zeroes, a longer one is accepted when its tail is zero (E2BIG otherwise). Plain C, no
 * includes but <stdint.h>.
 */
#ifndef HOLDFAST_UAPI_IOMMUFD_H
#define HOLDFAST_UAPI_IOMMUFD_H

#include <stdint.h>

#define IOMMUFD_TYPE 0x3b /* ';' */

#define IOMMUFD_CMD(nr) ((IOMMUFD_TYPE << 8) | (nr))
#define IOMMU_DESTROY IOMMUFD_CMD(0x80)
#define IOMMU_IOAS_ALLOC IOMMUFD_CMD(0x81)
#define IOMMU_IOAS_IOVA_RANGES IOMMUFD_CMD(0x84)
#define IOMMU_IOAS_UNMAP IOMMUFD_CMD(0x86)
#define IOMMU_OPTION IOMMUFD_CMD(0x87)
#define IOMMU_HWPT_ALLOC IOMMUFD_CMD(0x89)
#define IOMMU_GET_HW_INFO IOMMUFD_CMD(0x8a)
#define IOMMU_IOAS_MAP_FILE IOMMUFD_CMD(0x8f)

/* Removes an object. EBUSY while another object or a device uses it. */
struct iommu_destroy {
  uint32_t size;
  uint32_t id;
};

/* A new, empty I/O address space. */
struct iommu_ioas_alloc {
  uint32_t size;
  uint32_t flags; /* 0 */
  uint32_t out_ioas_id;
};

struct iommu_iova_range {
  uint64_t start;
  uint64_t last; /* inclusive */
};

/* The usable ranges. num_iovas: in the room of the array, out the number there are (EMSGSIZE when more than room). */
struct iommu_ioas_iova_ranges {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t __reserved;
  uint64_t allowed_iovas; /* address of an array of struct iommu_iova_range */
  uint64_t out_iova_alignment;
};

enum iommufd_ioas_map_flags {
  IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0,
  IOMMU_IOAS_MAP_WRITEABLE = 1 << 1,
  IOMMU_IOAS_MAP_READABLE = 1 << 2
};

/* Maps [start, start + length) of a memfd. Without FIXED_IOVA the address is chosen and written back. */
struct iommu_ioas_map_file {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  int32_t fd;
  uint64_t start;
  uint64_t length;
  uint64_t iova;
};

/* Unmaps whole areas. iova 0 with length 2^64-1: everything. length: out, the bytes that were mapped. */
struct iommu_ioas_unmap {
  uint32_t size;
  uint32_t ioas_id;
  uint64_t iova;
  uint64_t length;
};

enum iommufd_option { IOMMU_OPTION_RLIMIT_MODE = 0, IOMMU_OPTION_HUGE_PAGES = 1 };

enum iommufd_option_ops { IOMMU_OPTION_OP_SET = 0, IOMMU_OPTION_OP_GET = 1 };

struct iommu_option {
  uint32_t size;
  uint32_t option_id;
  uint16_t op;
  uint16_t __reserved;
  uint32_t object_id;
  uint64_t val64;
};

enum iommufd_hwpt_alloc_flags {
  IOMMU_HWPT_ALLOC_NEST_PARENT = 1 << 0,
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1 << 1,
  IOMMU_HWPT_FAULT_ID_VALID = 1 << 2,
  IOMMU_HWPT_ALLOC_PASID = 1 << 3
};

enum iommu_hwpt_data_type { IOMMU_HWPT_DATA_NONE = 0 };

/* A page table for dev_id, filled with everything that the IOAS pt_id maps. */
struct iommu_hwpt_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pt_id;
  uint32_t out_hwpt_id;
  uint32_t __reserved;
  uint32_t data_type;
  uint32_t data_len;
  uint64_t data_uptr;
  uint32_t fault_id;
  uint32_t __reserved2;
};

enum iommu_hw_info_type {
  IOMMU_HW_INFO_TYPE_NONE = 0,
  IOMMU_HW_INFO_TYPE_DEFAULT = 0,
  IOMMU_HW_INFO_TYPE_INTEL_VTD = 1
};

enum iommufd_hw_info_flags { IOMMU_HW_INFO_FLAG_INPUT_TYPE = 1 << 0 };

enum iommufd_hw_capabilities {
  IOMMU_HW_CAP_DIRTY_TRACKING = 1 << 0,
  IOMMU_HW_CAP_PCI_PASID_EXEC = 1 << 1,
  IOMMU_HW_CAP_PCI_PASID_PRIV = 1 << 2,
  IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED = 1 << 3
};

struct iommu_hw_info_vtd {
  uint32_t flags;
  uint32_t __reserved;
  uint64_t cap_reg;
  uint64_t ecap_reg;
};

/* What the IOMMU of dev_id can do. data_len: in the room at data_uptr, out the size there is. */
struct iommu_hw_info {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t data_len;
  uint64_t data_uptr;
  union {
    uint32_t in_data_type;
    uint32_t out_data_type;
  };
  uint8_t out_max_pasid_log2;
  uint8_t __reserved[3];
  uint64_t out_capabilities;
};

/* Named by the Linux live-update series; its number is not reserved upstream yet. */

#define IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE IOMMUFD_CMD(0x95)

/* Marks a page table to be preserved under a token when its iommufd is. Only a mark. */
struct iommu_hwpt_liveupdate_mark_preserve {
  uint32_t size;
  uint32_t hwpt_id;
  uint64_t hwpt_token;
};

/* Holdfast's own. */

#define IOMMU_HWPT_RESTORE IOMMUFD_CMD(0xe0)
#define IOMMU_HWPT_UNMARK IOMMUFD_CMD(0xe1)
#define IOMMU_HWPT_COMPARE IOMMUFD_CMD(0xe2)

/* Takes back the page table that was preserved under hwpt_token. It has no IOAS and cannot be changed. */
struct iommu_hwpt_restore {
  uint32_t size;
  uint32_t out_hwpt_id;
  uint64_t hwpt_token;
};

/* Withdraws a mark. EBUSY once the page table is preserved. */
struct iommu_hwpt_unmark {
  uint32_t size;
  uint32_t hwpt_id;
};

enum iommu_hwpt_compare_flags {
  IOMMU_HWPT_COMPARE_EQUAL = 1 << 0 /* new_id maps every IOVA of old_id to the same memory */
};

/* Does new_id map all that the restored page table old_id maps? If not, out_iova is the first address where not. */
struct iommu_hwpt_compare {
  uint32_t size;
  uint32_t old_id;
  uint32_t new_id;
  uint32_t out_flags;
  uint64_t out_iova;
};

#endif
