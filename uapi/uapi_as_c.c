/* The headers are C as well: compiled here by the C compiler, measured here by it, compared by the test. */
#include "uapi_as_c.h"

#include <stddef.h>

#include "holdfast/holdfast.h"

#define STRUCT_SIZE(name, type) {name, sizeof(struct type)}

static const struct uapi_size sizes[] = {
    STRUCT_SIZE("iommu_destroy", iommu_destroy),
    STRUCT_SIZE("iommu_ioas_alloc", iommu_ioas_alloc),
    STRUCT_SIZE("iommu_ioas_iova_ranges", iommu_ioas_iova_ranges),
    STRUCT_SIZE("iommu_ioas_map_file", iommu_ioas_map_file),
    STRUCT_SIZE("iommu_ioas_unmap", iommu_ioas_unmap),
    STRUCT_SIZE("iommu_option", iommu_option),
    STRUCT_SIZE("iommu_hwpt_alloc", iommu_hwpt_alloc),
    STRUCT_SIZE("iommu_hw_info", iommu_hw_info),
    STRUCT_SIZE("iommu_hw_info_vtd", iommu_hw_info_vtd),
    STRUCT_SIZE("iommu_hwpt_liveupdate_mark_preserve", iommu_hwpt_liveupdate_mark_preserve),
    STRUCT_SIZE("iommu_hwpt_restore", iommu_hwpt_restore),
    STRUCT_SIZE("iommu_hwpt_unmark", iommu_hwpt_unmark),
    STRUCT_SIZE("iommu_hwpt_compare", iommu_hwpt_compare),
    STRUCT_SIZE("liveupdate_ioctl_create_session", liveupdate_ioctl_create_session),
    STRUCT_SIZE("liveupdate_ioctl_retrieve_session", liveupdate_ioctl_retrieve_session),
    STRUCT_SIZE("liveupdate_ioctl_drop_session", liveupdate_ioctl_drop_session),
    STRUCT_SIZE("liveupdate_session_preserve_fd", liveupdate_session_preserve_fd),
    STRUCT_SIZE("liveupdate_session_retrieve_fd", liveupdate_session_retrieve_fd),
    STRUCT_SIZE("liveupdate_session_finish", liveupdate_session_finish),
    STRUCT_SIZE("vfio_device_info", vfio_device_info),
    STRUCT_SIZE("vfio_region_info", vfio_region_info),
    STRUCT_SIZE("vfio_device_bind_iommufd", vfio_device_bind_iommufd),
    STRUCT_SIZE("vfio_device_attach_iommufd_pt", vfio_device_attach_iommufd_pt),
    STRUCT_SIZE("vfio_device_detach_iommufd_pt", vfio_device_detach_iommufd_pt),
};

const struct uapi_size* uapi_sizes(size_t* count) {
  *count = sizeof sizes / sizeof sizes[0];
  return sizes;
}
