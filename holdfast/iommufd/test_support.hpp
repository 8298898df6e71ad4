// Test support (hosted; never part of the library): a MemfdKernel with /dev/iommu. See memfd/test_kernel.hpp.
#pragma once

#include "holdfast/iommufd/iommufd_handler.hpp"
#include "holdfast/memfd/test_kernel.hpp"

namespace holdfast {

class TestKernel : public MemfdKernel {
 public:
  template <class... Args>
  explicit TestKernel(Args&&... args) : MemfdKernel(std::forward<Args>(args)...) {
    register_handlers();
  }
  ~TestKernel() override { process.fds.files.clear(); }

  i32 open_iommufd() { return process.install(iommufd::Iommufd::create(host.memory, core).value()); }
  iommufd::Iommufd& iommufd_of(i32 fd) { return *luo::file_cast<iommufd::Iommufd>(&file(fd)); }

  u32 ioas(i32 fd) {
    iommu_ioas_alloc command{.size = sizeof command, .flags = 0, .out_ioas_id = 0};
    EXPECT_EQ(call(fd, IOMMU_IOAS_ALLOC, command), Code::Ok);
    return command.out_ioas_id;
  }
  Code map(i32 fd, u32 ioas_id, i32 memory_fd, u64 iova, u64 length, u64 start = 0, u32 flags = 7) {
    iommu_ioas_map_file command{.size = sizeof command,
                                .flags = flags,
                                .ioas_id = ioas_id,
                                .fd = memory_fd,
                                .start = start,
                                .length = length,
                                .iova = iova};
    const Code code = call(fd, IOMMU_IOAS_MAP_FILE, command);
    mapped_iova = command.iova;
    return code;
  }
  Code unmap(i32 fd, u32 ioas_id, u64 iova, u64 length) {
    iommu_ioas_unmap command{.size = sizeof command, .ioas_id = ioas_id, .iova = iova, .length = length};
    const Code code = call(fd, IOMMU_IOAS_UNMAP, command);
    unmapped_bytes = command.length;
    return code;
  }
  Code alloc_hwpt(i32 fd, u32 dev_id, u32 pt_id, u32& id) {
    iommu_hwpt_alloc command{};
    command.size = sizeof command;
    command.dev_id = dev_id;
    command.pt_id = pt_id;
    const Code code = call(fd, IOMMU_HWPT_ALLOC, command);
    id = command.out_hwpt_id;
    return code;
  }
  u32 hwpt(i32 fd, u32 dev_id, u32 pt_id) {
    u32 id = 0;
    EXPECT_EQ(alloc_hwpt(fd, dev_id, pt_id, id), Code::Ok);
    return id;
  }
  Code destroy(i32 fd, u32 id) {
    iommu_destroy command{.size = sizeof command, .id = id};
    return call(fd, IOMMU_DESTROY, command);
  }
  Code mark(i32 fd, u32 id, u64 token) {
    iommu_hwpt_liveupdate_mark_preserve command{.size = sizeof command, .hwpt_id = id, .hwpt_token = token};
    return call(fd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, command);
  }
  Code unmark(i32 fd, u32 id) {
    iommu_hwpt_unmark command{.size = sizeof command, .hwpt_id = id};
    return call(fd, IOMMU_HWPT_UNMARK, command);
  }
  Code restore_hwpt(i32 fd, u64 token, u32& id) {
    iommu_hwpt_restore command{.size = sizeof command, .out_hwpt_id = 0, .hwpt_token = token};
    const Code code = call(fd, IOMMU_HWPT_RESTORE, command);
    id = command.out_hwpt_id;
    return code;
  }
  Code compare(i32 fd, u32 old_id, u32 new_id, std::optional<u64>& difference) {
    iommu_hwpt_compare command{};
    command.size = sizeof command;
    command.old_id = old_id;
    command.new_id = new_id;
    const Code code = call(fd, IOMMU_HWPT_COMPARE, command);
    difference.reset();
    if ((command.out_flags & IOMMU_HWPT_COMPARE_EQUAL) == 0) difference = command.out_iova;
    return code;
  }

  iommufd::IommufdHandler iommufd_handler{host.memory, handover, core, policy};
  u64 mapped_iova = 0;
  u64 unmapped_bytes = 0;

 protected:
  [[nodiscard]] u64 hash_of(const luo::File& open) const override {
    const auto* iommufd = luo::file_cast<iommufd::Iommufd>(&open);
    return iommufd == nullptr ? MemfdKernel::hash_of(open) : iommufd->state_hash();
  }

 private:
  void register_handlers() {
    ASSERT_TRUE(orchestrator.register_handler(iommufd_handler).ok());
    ASSERT_TRUE(orchestrator.register_flb(iommufd_handler, core.records_flb()).ok());
    ASSERT_TRUE(orchestrator.register_flb(iommufd_handler, core.attest_flb()).ok());
  }
};

}  // namespace holdfast
