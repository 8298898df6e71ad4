// See image_file.hpp.
#include "tests/metal/image_file.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "holdfast/base/checked.hpp"
#include "host/run_error.hpp"

namespace metal_test {
namespace {

std::string read_image(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  std::string image = bytes.str();
  if (image.size() < sizeof(Elf64_Ehdr) || !image.starts_with(ELFMAG) || image[EI_CLASS] != ELFCLASS64)
    throw host::RunError(host::ExitCode::InputMissing, "no ELF64 image: " + path.string());
  return image;
}

void write_image(const std::filesystem::path& path, std::string_view image) {
  std::ofstream file(path, std::ios::binary);
  file << image;
  if (!file.flush()) throw host::RunError(host::ExitCode::InputMissing, "cannot write " + path.string());
}

struct Descriptor {
  std::size_t start = 0;
  std::size_t size = 0;
};

/// Of the note "Holdfast": Elf64_Nhdr, the name padded to 12 bytes, the descriptor (System V ABI, Note Section).
Descriptor find_descriptor(std::string_view image) {
  const std::string name("Holdfast\0\0\0\0", 12);
  for (auto at = image.find(name); at != std::string_view::npos; at = image.find(name, at + 1)) {
    Elf64_Nhdr header;
    if (at < sizeof header) continue;
    std::memcpy(&header, image.data() + at - sizeof header, sizeof header);
    const std::size_t start = at + name.size();
    if (header.n_namesz == 9 && header.n_type == 1 && header.n_descsz <= image.size() - start)
      return {start, header.n_descsz};
  }
  throw host::RunError(host::ExitCode::Internal, "the image has no note \"Holdfast\"");
}

struct LoadedSegment {
  std::size_t at = 0;  // of its header
  Elf64_Phdr header{};
};

/// In the order of the file; at least one.
std::vector<LoadedSegment> find_segments(std::string_view image) {
  Elf64_Ehdr header;
  std::memcpy(&header, image.data(), sizeof header);
  std::vector<LoadedSegment> segments;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    LoadedSegment segment{.at = header.e_phoff + std::size_t{i} * header.e_phentsize};
    if (segment.at + sizeof segment.header > image.size()) break;
    std::memcpy(&segment.header, image.data() + segment.at, sizeof segment.header);
    if (segment.header.p_type == PT_LOAD) segments.push_back(segment);
  }
  if (segments.empty()) throw host::RunError(host::ExitCode::Internal, "the image has no segment to load");
  return segments;
}

}  // namespace

PhysRange loaded_range(const std::filesystem::path& image) {
  u64 start = ~u64{0};
  u64 end = 0;
  for (const LoadedSegment& segment : find_segments(read_image(image))) {
    start = std::min(start, align_down(segment.header.p_paddr, page_size_bytes));
    end = std::max(end, segment.header.p_paddr + segment.header.p_memsz);
  }
  return {PhysAddr(start), div_ceil(end - start, page_size_bytes) * page_size_bytes};
}

void copy_without_layout(const std::filesystem::path& image, const std::filesystem::path& to, std::string_view layout) {
  std::string bytes = read_image(image);
  const auto [start, size] = find_descriptor(bytes);
  // One of its NUL-terminated strings. The one before it, or the note's name, ends right before.
  const auto at = bytes.find('\0' + std::string(layout) + '\0', start - 1);
  if (at == std::string::npos || at + layout.size() + 2 > start + size)
    throw host::RunError(host::ExitCode::Internal, "the note of the image does not name " + std::string(layout));
  bytes[at + 1] = static_cast<char>(bytes[at + 1] ^ 0x20);
  write_image(to, bytes);
}

void copy_too_large(const std::filesystem::path& image, const std::filesystem::path& to) {
  std::string bytes = read_image(image);
  LoadedSegment segment = find_segments(bytes).back();
  segment.header.p_memsz = u64{1} << 30;
  std::memcpy(bytes.data() + segment.at, &segment.header, sizeof segment.header);
  write_image(to, bytes);
}

void copy_cut_off(const std::filesystem::path& image, const std::filesystem::path& to) {
  const std::string bytes = read_image(image);
  const Elf64_Phdr segment = find_segments(bytes).back().header;
  write_image(to, std::string_view(bytes).substr(0, segment.p_offset + segment.p_filesz / 2));
}

void write_text_in_place_of_image(const std::filesystem::path& to) { write_image(to, std::string(4096, 'x')); }

}  // namespace metal_test
