#include "holdfast/kernel/kernel.hpp"

#include "holdfast/abi/checksum.hpp"

namespace holdfast::kernel {

Result<Process*> Kernel::spawn(UserMemory& user) {
  TRY_ASSIGN(Process * process, x_memory.heap.create<Process>(*this, user));
  x_processes.push_back(*process);
  return process;
}

void Kernel::reap(Process& process) {
  process.exit();
  x_processes.remove(process);
  x_memory.heap.destroy(&process);
}

Result<luo::FileRef> Kernel::open_path(std::string_view path) {
  constexpr std::string_view devices = "/dev/vfio/devices/vfio";
  if (path == "/dev/liveupdate") return x_orchestrator.open_device();
  if (path == "/dev/iommu") return iommufd::Iommufd::create(x_memory, x_iommu);
  if (path.starts_with(devices)) return open_device_file(path.substr(devices.size()));
  return Code::NotFound;
}

Result<luo::FileRef> Kernel::open_device_file(std::string_view number) {
  constexpr u64 most_digits = 4;
  if (number.empty() || number.size() > most_digits) return Code::NotFound;
  u64 value = 0;
  for (const char digit : number) {
    if (digit < '0' || digit > '9') return Code::NotFound;
    value = value * 10 + static_cast<u64>(digit - '0');
  }
  return x_devices.open_device(value);
}

u64 Kernel::state_hash() const {
  u64 hash = 0;
  for (const u64 word : {x_iommu.state_hash(), x_orchestrator.state_hash(), x_handover.state_hash(), x_pci.state_hash(),
                         x_memory.heap.live_objects(), x_memory.heap.live_bytes()})
    hash = abi::checksum_add(hash, word);
  for (const u64 blocks : x_memory.buddy.free_blocks()) hash = abi::checksum_add(hash, blocks);
  for (const Process& process : x_processes) hash = abi::checksum_add(hash, process.state_hash());
  return hash;
}

}  // namespace holdfast::kernel
