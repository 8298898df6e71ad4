// Sparse copies of the RAM file.
#include "host/ram_dump.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "host/run_error.hpp"
#include "host/unique_fd.hpp"

namespace host {
namespace {

constexpr u64 chunk_bytes = u64{1} << 20;

[[noreturn]] void throw_dump_error(const std::string& path) {
  throw RunError(ExitCode::InputMissing, "--dump: cannot write " + path + ": " + std::strerror(errno),
                 "the directory is missing, not writable, or the disk is full", "give another directory");
}

/// Copies [start, end) but leaves out pages of zeroes. False: errno says why.
bool copy_range(int from, int to, u64 start, u64 end) {
  static const std::vector<char> zeroes(page_size_bytes);
  std::vector<char> buffer(chunk_bytes);
  while (start < end) {
    const u64 wanted = std::min(chunk_bytes, end - start);
    const ssize_t got = ::pread(from, buffer.data(), wanted, static_cast<off_t>(start));
    if (got <= 0) return false;
    for (u64 at = 0; at < static_cast<u64>(got); at += page_size_bytes) {
      const u64 length = std::min(page_size_bytes, static_cast<u64>(got) - at);
      if (std::memcmp(buffer.data() + at, zeroes.data(), length) == 0) continue;
      const ssize_t written = ::pwrite(to, buffer.data() + at, length, static_cast<off_t>(start + at));
      if (written != static_cast<ssize_t>(length)) return false;
    }
    start += static_cast<u64>(got);
  }
  return true;
}

bool copy_sparse(int from, int to, u64 size_bytes) {
  if (::ftruncate(to, static_cast<off_t>(size_bytes)) != 0) return false;
  for (off_t at = 0; static_cast<u64>(at) < size_bytes;) {
    const off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0) return errno == ENXIO;  // nothing but a hole is left
    const off_t hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0 || !copy_range(from, to, static_cast<u64>(data), static_cast<u64>(hole))) return false;
    at = hole;
  }
  return true;
}

}  // namespace

RamDump::RamDump(std::string directory, const MachineShape& shape) : x_directory(std::move(directory)), x_shape(shape) {
  std::error_code error;
  std::filesystem::create_directories(x_directory, error);
  if (error || ::access(x_directory.c_str(), W_OK) != 0) {
    if (error) errno = error.value();
    throw_dump_error(x_directory);
  }
}

void RamDump::add(u32 update, const Handover& handover, int ram_fd) {
  const std::string name = "update-" + std::to_string(update) + ".ram";
  const std::string path = x_directory + "/" + name;
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file.valid() || !copy_sparse(ram_fd, file.get(), x_shape.ram_file_bytes)) throw_dump_error(path);
  x_jumps.push_back({update, name, handover});
  write_index();
}

void RamDump::write_index() const {
  nlohmann::ordered_json index;
  index["schema"] = "holdfast.dump/1";
  index["note"] = "physical address a is at offset a of each file; devices went on while RAM was copied";
  index["rsdp"] = x_shape.rsdp;
  for (const MemoryRange& range : x_shape.memory_map.span())
    index["memory_map"].push_back({{"start", range.range.start.value},
                                   {"size", range.range.size_bytes},
                                   {"kind", range.kind == MemoryKind::Ram ? "ram" : "reserved"}});
  for (const Jump& jump : x_jumps)
    index["jumps"].push_back({{"update", jump.update},
                              {"file", jump.file},
                              {"fdt", jump.handover.fdt},
                              {"fdt_size", jump.handover.fdt_size_bytes},
                              {"scratch", jump.handover.scratch},
                              {"scratch_size", jump.handover.scratch_size_bytes}});
  const std::string path = x_directory + "/handover.json";
  std::ofstream file(path);
  file << index.dump(2) << '\n';
  if (!file.flush()) throw_dump_error(path);
}

}  // namespace host
