#include "metal/elf_image.hpp"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "holdfast/base/checked.hpp"

namespace metal {
namespace {

constexpr u32 max_segments = 16;

template <class T>
bool read_value(host::ImageReader& file, u64 offset, T& value) {
  return file.read(offset, std::as_writable_bytes(std::span<T, 1>(&value, 1)));
}

struct Segments {
  std::array<Elf64_Phdr, max_segments> loaded{};
  u32 count = 0;
  u64 start = ~u64{0};  // lowest address that is loaded
  u64 end = 0;
};

Status read_header(host::ImageReader& file, Elf64_Ehdr& header) {
  if (!read_value(file, 0, header)) return Code::Io;
  const bool ours = std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
                    header.e_ident[EI_DATA] == ELFDATA2LSB && header.e_machine == EM_X86_64 &&
                    header.e_type == ET_DYN && header.e_phentsize == sizeof(Elf64_Phdr);
  return ours ? Status() : Status(Code::Invalid);
}

Status add_segment(const Elf64_Phdr& segment, Segments& segments) {
  const auto end = checked_add(segment.p_vaddr, segment.p_memsz);
  if (!end || segment.p_filesz > segment.p_memsz) return Code::Invalid;
  if (segments.count == max_segments) return Code::Invalid;
  segments.loaded[segments.count++] = segment;
  segments.start = std::min(segments.start, align_down(segment.p_vaddr, page_size_bytes));
  segments.end = std::max(segments.end, *end);
  return {};
}

Result<Segments> read_segments(host::ImageReader& file, const Elf64_Ehdr& header) {
  constexpr u32 most_headers = 64;
  if (header.e_phnum > most_headers) return Code::Invalid;
  Segments segments;
  for (u32 i = 0; i < header.e_phnum; ++i) {
    const auto at = checked_add<u64>(header.e_phoff, i * sizeof(Elf64_Phdr));
    Elf64_Phdr segment;
    if (!at) return Code::Invalid;
    if (!read_value(file, *at, segment)) return Code::Io;
    if (segment.p_type == PT_LOAD && segment.p_memsz != 0) TRY(add_segment(segment, segments));
  }
  if (segments.count == 0) return Code::Invalid;
  return segments;
}

}  // namespace

Result<u64> load_image(host::ImageReader& file, std::span<std::byte> place) {
  Elf64_Ehdr header;
  TRY(read_header(file, header));
  TRY_ASSIGN(const Segments segments, read_segments(file, header));
  const u64 size = segments.end - segments.start;
  if (size > place.size()) return Code::TooBig;
  if (header.e_entry < segments.start || header.e_entry >= segments.end) return Code::Invalid;
  std::memset(place.data(), 0, size);
  for (u32 i = 0; i < segments.count; ++i) {
    const Elf64_Phdr& segment = segments.loaded[i];
    const auto to = place.subspan(segment.p_vaddr - segments.start, segment.p_filesz);
    if (!to.empty() && !file.read(segment.p_offset, to)) return Code::Io;
  }
  return header.e_entry - segments.start;
}

}  // namespace metal
