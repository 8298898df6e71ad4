#include "vmm/bystander.hpp"

#include "vmm/dma_engine_driver.hpp"
#include "vmm/file_calls.hpp"

namespace vmm {
namespace {
inline constexpr u64 bystander_bytes = u64{64} << 10;
inline constexpr u64 bystander_iova = u64{1} << 30;
}  // namespace

bool start_bystander(Calls& calls, const Options& options) {
  i32 memory = -1;
  i32 device = -1;
  u32 device_id = 0;
  u32 ioas = 0;
  if (!create_memory(calls, "holdfast-bystander", bystander_bytes, memory)) return false;
  if (!write_stamps(calls, memory, bystander_bytes)) return false;
  const i32 iommufd = static_cast<i32>(calls.system().open("/dev/iommu"));
  if (!calls.check(iommufd, "open of /dev/iommu")) return false;
  if (!open_device(calls, options.devices, device) || !bind_device(calls, device, iommufd, device_id)) return false;
  if (!alloc_ioas(calls, iommufd, ioas) || !map_file(calls, iommufd, ioas, memory, bystander_bytes, bystander_iova))
    return false;
  if (!attach_device(calls, device, ioas)) return false;
  return DmaEngine(calls, device)
      .start({bystander_iova, bystander_bytes, bystander_bytes, 0, static_cast<u32>(options.seed)});
}

}  // namespace vmm
