#include "holdfast/kernel/kernel.hpp"

namespace holdfast::kernel {

Result<Process*> Kernel::spawn(UserMemory& user) { return x_memory.heap.create<Process>(*this, user); }

void Kernel::reap(Process& process) {
  process.exit();
  x_memory.heap.destroy(&process);
}

Result<luo::FileRef> Kernel::open_path(std::string_view path) {
  constexpr std::string_view devices = "/dev/vfio/devices/vfio";
  if (path == "/dev/liveupdate") return x_orchestrator.open_device();
  if (path == "/dev/iommu") return iommufd::Iommufd::create(x_memory, x_iommu);
  if (path.starts_with(devices)) return open_device_file(path.substr(devices.size()));
  return Code::NotFound;
}

}  // namespace holdfast::kernel
