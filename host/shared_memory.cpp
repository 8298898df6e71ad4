// Memory files and their mappings.
#include "host/shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <string>

#include "host/run_error.hpp"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010  // Linux 5.1; older C libraries do not name it
#endif

namespace host {

UniqueFd create_shared_file(const char* name, u64 size_bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) throw_system_error(std::string("memfd_create ") + name);
  if (::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0) throw_system_error(std::string("ftruncate ") + name);
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) throw_system_error("sealing a memfd");
  return fd;
}

void forbid_new_writers(int fd) {
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) != 0) throw_system_error("sealing a memfd against writers");
}

SharedMapping::SharedMapping(int fd, u64 size_bytes, Access access) : x_size(size_bytes) {
  int protection = access == Access::ReadWrite ? PROT_READ | PROT_WRITE : PROT_READ;
  void* at = ::mmap(nullptr, size_bytes, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (at == MAP_FAILED) throw_system_error("mmap of shared memory");
  x_start = static_cast<std::byte*>(at);
}

SharedMapping::SharedMapping(SharedMapping&& other) noexcept
    : x_start(std::exchange(other.x_start, nullptr)), x_size(std::exchange(other.x_size, 0)) {}

SharedMapping& SharedMapping::operator=(SharedMapping&& other) noexcept {
  if (this != &other) {
    remove();
    x_start = std::exchange(other.x_start, nullptr);
    x_size = std::exchange(other.x_size, 0);
  }
  return *this;
}

SharedMapping::~SharedMapping() { remove(); }

void SharedMapping::remove() {
  if (x_start != nullptr) ::munmap(x_start, x_size);
}

}  // namespace host
