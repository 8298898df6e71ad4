#include "holdfast/kernel/process.hpp"

#include "holdfast/abi/checksum.hpp"
#include "holdfast/kernel/kernel.hpp"

namespace holdfast::kernel {
namespace {

i64 negative_errno(Code code) { return -static_cast<i64>(to_errno(code)); }

template <class T>
i64 answer(const Result<T>& result) {
  return result.ok() ? static_cast<i64>(*result) : negative_errno(result.code());
}
i64 answer(const Status& status) { return negative_errno(status.code()); }

u64 hash_of(const luo::File* file) {
  if (file == nullptr) return 0;
  if (const auto* iommufd = luo::file_cast<iommufd::Iommufd>(file)) return iommufd->state_hash();
  if (const auto* memory = luo::file_cast<memfd::MemFile>(file))
    return abi::checksum_add(memory->size_bytes(),
                             u64{memory->seals()} << 32 | u64{memory->pins()} << 1 | u64{memory->is_preserved()});
  if (const auto* device = luo::file_cast<vfio::VfioDevice>(file))
    return abi::checksum_add(device->device_id().value, u64{device->is_bound()} << 1 | u64{device->is_preserved()});
  return 1;  // sessions and /dev/liveupdate: the orchestrator's
}

/// The descriptor of a new file. A descriptor table that is full costs the file its only reference.
i64 install(Descriptors& descriptors, Result<luo::FileRef> file) {
  if (!file.ok()) return negative_errno(file.code());
  return answer(descriptors.install(std::move(file).value()));
}

}  // namespace

Process::Process(Kernel& kernel, UserMemory& user)
    : x_kernel(kernel), x_user(user), x_descriptors(kernel.memory().heap) {}

template <class Operation>
i64 Process::with_file(i32 fd, Operation&& operation) {
  Guard guard(x_kernel.mutex());
  auto file = x_descriptors.get(fd);
  if (!file.ok()) return negative_errno(file.code());
  luo::CallContext call{x_user, x_descriptors};
  return answer(operation(call, **file));
}

i64 Process::open(std::string_view path) {
  Guard guard(x_kernel.mutex());
  return install(x_descriptors, x_kernel.open_path(path));
}

i64 Process::close(i32 fd) {
  Guard guard(x_kernel.mutex());
  return answer(x_descriptors.close(fd));
}

i64 Process::ioctl(i32 fd, u32 command, u64 argument) {
  return with_file(fd, [&](luo::CallContext& call, luo::File& file) { return file.ioctl(call, command, argument); });
}

i64 Process::pread(i32 fd, u64 to, u64 length, u64 offset) {
  return with_file(fd, [&](luo::CallContext& call, luo::File& file) { return file.pread(call, to, length, offset); });
}

i64 Process::pwrite(i32 fd, u64 from, u64 length, u64 offset) {
  return with_file(fd,
                   [&](luo::CallContext& call, luo::File& file) { return file.pwrite(call, from, length, offset); });
}

i64 Process::mmap(i32 fd, u64 length, u32 protection, u64 offset) {
  return with_file(
      fd, [&](luo::CallContext& call, luo::File& file) { return file.mmap(call, length, protection, offset); });
}

i64 Process::memfd_create(std::string_view) {
  Guard guard(x_kernel.mutex());
  return install(x_descriptors, memfd::MemFile::create(x_kernel.memory(), memfd::Sealing::Allowed));
}

i64 Process::ftruncate(i32 fd, u64 size_bytes) {
  return with_file(fd, [&](luo::CallContext&, luo::File& file) -> Status {
    auto* memory_file = luo::file_cast<memfd::MemFile>(&file);
    if (memory_file == nullptr) return Code::Invalid;
    return memory_file->truncate(size_bytes);
  });
}

i64 Process::add_seals(i32 fd, u32 seals) {
  return with_file(fd, [&](luo::CallContext&, luo::File& file) -> Status {
    auto* memory_file = luo::file_cast<memfd::MemFile>(&file);
    if (memory_file == nullptr) return Code::Invalid;
    return memory_file->add_seals(seals);
  });
}

i64 Process::reboot_kexec() {
  Guard guard(x_kernel.mutex());
  return negative_errno(x_kernel.live_update());
}

void Process::exit() {
  Guard guard(x_kernel.mutex());
  x_descriptors.close_all();
}

u64 Process::state_hash() const {
  u64 hash = 0;
  for (const luo::FileRef& file : x_descriptors.files()) hash = abi::checksum_add(hash, hash_of(file.get()));
  return hash;
}

}  // namespace holdfast::kernel
