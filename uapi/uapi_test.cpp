// The user boundary: numbers and layouts typed by hand, for the C++ and for the C compiler.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <string>

#include "uapi/holdfast/holdfast.h"
#include "uapi/uapi_as_c.h"

namespace {

TEST(Uapi, NumbersAreLinux) {
  EXPECT_EQ(IOMMU_DESTROY, 0x3b80);
  EXPECT_EQ(IOMMU_IOAS_ALLOC, 0x3b81);
  EXPECT_EQ(IOMMU_IOAS_IOVA_RANGES, 0x3b84);
  EXPECT_EQ(IOMMU_IOAS_UNMAP, 0x3b86);
  EXPECT_EQ(IOMMU_OPTION, 0x3b87);
  EXPECT_EQ(IOMMU_HWPT_ALLOC, 0x3b89);
  EXPECT_EQ(IOMMU_GET_HW_INFO, 0x3b8a);
  EXPECT_EQ(IOMMU_IOAS_MAP_FILE, 0x3b8f);
  EXPECT_EQ(VFIO_DEVICE_GET_INFO, 0x3b6b);
  EXPECT_EQ(VFIO_DEVICE_GET_REGION_INFO, 0x3b6c);
  EXPECT_EQ(VFIO_DEVICE_RESET, 0x3b6f);
  EXPECT_EQ(VFIO_DEVICE_BIND_IOMMUFD, 0x3b76);
  EXPECT_EQ(VFIO_DEVICE_ATTACH_IOMMUFD_PT, 0x3b77);
  EXPECT_EQ(VFIO_DEVICE_DETACH_IOMMUFD_PT, 0x3b78);
}

TEST(Uapi, SealsAreLinux) {
  EXPECT_EQ(F_SEAL_SEAL, 1);
  EXPECT_EQ(F_SEAL_SHRINK, 2);
  EXPECT_EQ(F_SEAL_GROW, 4);
  EXPECT_EQ(F_SEAL_WRITE, 8);
  EXPECT_EQ(F_SEAL_FUTURE_WRITE, 0x10);
  EXPECT_EQ(F_SEAL_EXEC, 0x20);
}

TEST(Uapi, OurAdditionsStandApartFromLinuxNumbers) {
  EXPECT_EQ(IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, 0x3b95);
  EXPECT_EQ(IOMMU_HWPT_RESTORE, 0x3be0);
  EXPECT_EQ(IOMMU_HWPT_UNMARK, 0x3be1);
  EXPECT_EQ(IOMMU_HWPT_COMPARE, 0x3be2);
}

const std::map<std::string, std::size_t> expected_sizes = {
    {"iommu_destroy", 8},
    {"iommu_ioas_alloc", 12},
    {"iommu_ioas_iova_ranges", 32},
    {"iommu_ioas_map_file", 40},
    {"iommu_ioas_unmap", 24},
    {"iommu_option", 24},
    {"iommu_hwpt_alloc", 48},
    {"iommu_hw_info", 40},
    {"iommu_hw_info_vtd", 24},
    {"iommu_hwpt_liveupdate_mark_preserve", 16},
    {"iommu_hwpt_restore", 16},
    {"iommu_hwpt_unmark", 8},
    {"iommu_hwpt_compare", 24},
    {"liveupdate_ioctl_create_session", 72},
    {"liveupdate_ioctl_retrieve_session", 72},
    {"liveupdate_ioctl_drop_session", 72},
    {"liveupdate_session_preserve_fd", 16},
    {"liveupdate_session_retrieve_fd", 16},
    {"liveupdate_session_finish", 8},
    {"vfio_device_info", 24},
    {"vfio_region_info", 32},
    {"vfio_device_bind_iommufd", 24},
    {"vfio_device_attach_iommufd_pt", 16},
    {"vfio_device_detach_iommufd_pt", 12},
};

TEST(Uapi, StructsHaveLinuxSizesForACCompiler) {
  std::size_t count = 0;
  const uapi_size* sizes = uapi_sizes(&count);
  std::map<std::string, std::size_t> seen;
  for (std::size_t i = 0; i < count; ++i) seen[sizes[i].name] = sizes[i].bytes;
  EXPECT_EQ(seen, expected_sizes);
}

TEST(Uapi, FieldsStandWhereLinuxPutsThem) {
  EXPECT_EQ(offsetof(iommu_ioas_iova_ranges, allowed_iovas), 16u);
  EXPECT_EQ(offsetof(iommu_ioas_map_file, fd), 12u);
  EXPECT_EQ(offsetof(iommu_ioas_map_file, start), 16u);
  EXPECT_EQ(offsetof(iommu_ioas_map_file, iova), 32u);
  EXPECT_EQ(offsetof(iommu_option, object_id), 12u);
  EXPECT_EQ(offsetof(iommu_option, val64), 16u);
  EXPECT_EQ(offsetof(iommu_hwpt_alloc, data_uptr), 32u);
  EXPECT_EQ(offsetof(iommu_hwpt_alloc, __reserved2), 44u);
  EXPECT_EQ(offsetof(iommu_hw_info, out_data_type), 24u);
  EXPECT_EQ(offsetof(iommu_hw_info, out_capabilities), 32u);
  EXPECT_EQ(offsetof(iommu_hwpt_liveupdate_mark_preserve, hwpt_token), 8u);
  EXPECT_EQ(offsetof(iommu_hwpt_restore, hwpt_token), 8u);
  EXPECT_EQ(offsetof(iommu_hwpt_compare, out_iova), 16u);
  EXPECT_EQ(offsetof(vfio_device_bind_iommufd, out_devid), 12u);
  EXPECT_EQ(offsetof(vfio_device_bind_iommufd, token_uuid_ptr), 16u);
  EXPECT_EQ(offsetof(vfio_device_attach_iommufd_pt, pt_id), 8u);
  EXPECT_EQ(offsetof(vfio_region_info, size), 16u);
}

}  // namespace
