// Which QEMU there is: one per release that tests are written for, and how it is started as a child.
//
// The child has no descriptors but those it is given, is killed by the kernel of this computer when the test dies, and
// by a limit on its processor time if all else fails. Threads: as host/child.hpp says. Failure: RunError.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "holdfast/base/types.hpp"
#include "host/child.hpp"
#include "host/unique_fd.hpp"

namespace qemu {

using namespace holdfast;  // NOLINT: a test of the library

/// What tests are written for: 7, as in Debian 12; 10, as in its backports.
enum class Release : u8 { Qemu7 = 7, Qemu10 = 10 };
enum class Target : u8 { X86, Arm, Riscv };

struct Binary {
  std::string path;
  std::vector<std::string> arguments;    // where it finds its data
  std::vector<std::string> environment;  // and its modules
};

/// The installed one if it is of that release, otherwise the one that tools/fetch_qemu10.py unpacked.
[[nodiscard]] std::optional<Binary> find_binary(Release release, Target target);
/// First number of "QEMU emulator version 7.2.22 (...)"; nothing when @p binary does not run or is no QEMU.
[[nodiscard]] std::optional<unsigned> major_version(const Binary& binary);

/// Where its standard output and its complaints go. stdin is empty.
struct Output {
  int out = -1;
  int errors = -1;
};

/// @p arguments: what follows those that every QEMU of a test has.
[[nodiscard]] host::Child start(const Binary& binary, const std::vector<std::string>& arguments,
                                std::span<const int> keep, Output output);

/// An anonymous file with that content, for options that want a path.
[[nodiscard]] host::UniqueFd create_memory_file(const char* name, std::span<const std::byte> content);
/// How an inherited descriptor is named where a path is wanted.
[[nodiscard]] std::string path_of(int fd);
/// The last bytes of what was written to a file.
[[nodiscard]] std::string last_text(int fd);

}  // namespace qemu
