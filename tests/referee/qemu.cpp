// A halted machine, and the socket to its devices. See qemu.hpp.
#include "tests/referee/qemu.hpp"

#include <sys/socket.h>

#include <array>

#include "host/run_error.hpp"

namespace referee {

Qemu::Qemu(const qemu::Binary& binary, const SharedRam& ram, const std::vector<std::string>& arguments,
           const std::vector<std::byte>& firmware)
    : x_log(qemu::create_memory_file("qemu-log", {})) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) host::throw_system_error("socketpair");
  x_qtest = std::make_unique<Qtest>(host::UniqueFd(ends[0]));
  const host::UniqueFd theirs(ends[1]);
  const host::UniqueFd image = qemu::create_memory_file("firmware", firmware);

  // -icount with sleep=off: the halted processor makes virtual time jump to the next timer, the device's.
  std::vector<std::string> line;
  const auto add = [&](std::initializer_list<std::string> more) { line.insert(line.end(), more); };
  add({"-icount", "shift=0,sleep=off", "-m", std::to_string(SharedRam::size_bytes / mib)});
  add({"-object", "memory-backend-file,id=ram,share=on,size=" + std::to_string(SharedRam::size_bytes) +
                      ",mem-path=" + qemu::path_of(ram.file())});
  add({"-chardev", "socket,id=qt,fd=" + std::to_string(theirs.get()), "-object",
       "qtest,id=qtest0,chardev=qt,log=none"});
  if (!firmware.empty()) add({"-bios", qemu::path_of(image.get())});
  line.insert(line.end(), arguments.begin(), arguments.end());

  const std::array<int, 3> keep{ram.file(), theirs.get(), image.get()};
  x_child = qemu::start(binary, line, keep, {x_log.get(), x_log.get()});
}

std::string Qemu::log() const { return qemu::last_text(x_log.get()); }

}  // namespace referee
