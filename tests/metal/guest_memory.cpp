// See guest_memory.hpp. Pages that nobody touched are holes of the file and are not read.
#include "tests/metal/guest_memory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <string>

#include "holdfast/base/checked.hpp"
#include "host/run_error.hpp"

namespace metal_test {
namespace {

constexpr u64 multiplier = 0x9e37'79b9'7f4a'7c15;

u64 mix(u64 value, u64 word) {
  value = (value ^ word) * multiplier;
  return value ^ value >> 29;
}

/// Four lanes, because one multiplication waits for the one before.
u64 digest(const std::byte* page) {
  u64 lanes[4] = {1, 2, 3, 4};
  for (u64 at = 0; at < page_size_bytes; at += sizeof lanes) {
    u64 words[4];
    std::memcpy(words, page + at, sizeof words);
    for (unsigned i = 0; i < 4; ++i) lanes[i] = mix(lanes[i], words[i]);
  }
  return mix(mix(mix(lanes[0], lanes[1]), lanes[2]), lanes[3]);
}

/// Calls @p visit for every part of the file that may hold something else than zeroes.
void for_each_part(int file, u64 size, const std::function<void(u64 start, u64 end)>& visit) {
  for (off_t at = 0; at < static_cast<off_t>(size);) {
    const off_t start = ::lseek(file, at, SEEK_DATA);
    if (start < 0) return;  // nothing but holes from here
    const off_t hole = ::lseek(file, start, SEEK_HOLE);
    const auto end = hole < 0 ? size : std::min(static_cast<u64>(hole), size);
    visit(static_cast<u64>(start), end);
    at = static_cast<off_t>(end);
  }
}

}  // namespace

PageDigests GuestMemory::digest_pages() const {
  static const u64 of_zeroes = [] {
    const std::vector<std::byte> zeroes(page_size_bytes);
    return digest(zeroes.data());
  }();
  PageDigests digests(size_bytes() / page_size_bytes, of_zeroes);
  for_each_part(file(), size_bytes(), [&](u64 start, u64 end) {
    for (u64 page = start / page_size_bytes; page < div_ceil(end, page_size_bytes); ++page)
      digests[page] = digest(bytes().data() + page * page_size_bytes);
  });
  return digests;
}

void GuestMemory::save(const std::string& path) const {
  const host::UniqueFd to(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644));
  if (!to.valid() || ::ftruncate(to.get(), static_cast<off_t>(size_bytes())) != 0) host::throw_system_error(path);
  for_each_part(file(), size_bytes(), [&](u64 start, u64 end) {
    while (start < end) {
      const ssize_t written = ::pwrite(to.get(), bytes().data() + start, end - start, static_cast<off_t>(start));
      if (written <= 0) host::throw_system_error("write to " + path);
      start += static_cast<u64>(written);
    }
  });
}

std::vector<PhysAddr> changed_pages(const PageDigests& before, const PageDigests& after) {
  std::vector<PhysAddr> changed;
  for (u64 page = 0; page < before.size(); ++page)
    if (before[page] != after[page]) changed.emplace_back(page * page_size_bytes);
  return changed;
}

}  // namespace metal_test
