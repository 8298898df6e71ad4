// ELF64 note lookup: bounds first, then bytes.
#include "host/elf_note.hpp"

#include <elf.h>

#include <array>
#include <cstring>
#include <limits>

namespace host {
namespace {

constexpr u64 max_headers = 4096;             // program or section headers of one image
constexpr u64 max_area_bytes = u64{1} << 20;  // one note segment or section
constexpr u64 max_name_bytes = 64;

template <class T>
bool read_value(ImageReader& image, u64 offset, T& value) {
  return image.read(offset, std::as_writable_bytes(std::span<T, 1>(&value, 1)));
}

constexpr u64 round_up(u64 value, u64 alignment) { return (value + alignment - 1) & ~(alignment - 1); }

bool is_our_kind(const Elf64_Ehdr& header) {
  return std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
         header.e_ident[EI_DATA] == ELFDATA2LSB && header.e_machine == EM_X86_64;
}

/// Where notes lie in the file.
struct NoteArea {
  u64 offset = 0;
  u64 size_bytes = 0;
  u64 alignment = 4;
};

/// True when the @p size bytes at @p offset hold @p name, with or without the terminating zero that binutils write.
bool name_matches(ImageReader& image, u64 offset, u64 size, std::string_view name) {
  if (size != name.size() && size != name.size() + 1) return false;
  std::array<char, max_name_bytes> text{};
  if (size > text.size() || !image.read(offset, std::as_writable_bytes(std::span(text).first(size)))) return false;
  return std::string_view(text.data(), name.size()) == name && (size == name.size() || text[name.size()] == '\0');
}

/// Walks one area. NotFound: not in here; Invalid: the area contradicts itself.
Result<u64> search_area(ImageReader& image, const NoteArea& area, std::string_view name,
                        std::span<std::byte> descriptor) {
  if (area.size_bytes > max_area_bytes || area.offset > std::numeric_limits<u64>::max() - area.size_bytes)
    return Code::Invalid;
  u64 alignment = area.alignment == 8 ? 8 : 4;
  u64 at = 0;
  while (area.size_bytes - at >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note;
    if (!read_value(image, area.offset + at, note)) return Code::Invalid;
    u64 name_at = at + sizeof note;
    u64 descriptor_at = round_up(name_at + note.n_namesz, alignment);
    u64 end = descriptor_at + note.n_descsz;
    if (end > area.size_bytes) return Code::Invalid;
    if (name_matches(image, area.offset + name_at, note.n_namesz, name)) {
      if (note.n_descsz > descriptor.size()) return Code::TooBig;
      if (!image.read(area.offset + descriptor_at, descriptor.first(note.n_descsz))) return Code::Invalid;
      return u64{note.n_descsz};
    }
    at = round_up(end, alignment);
    if (at >= area.size_bytes) break;
  }
  return Code::NotFound;
}

bool note_area_of(const Elf64_Phdr& header, NoteArea& area) {
  area = {header.p_offset, header.p_filesz, header.p_align};
  return header.p_type == PT_NOTE;
}
bool note_area_of(const Elf64_Shdr& header, NoteArea& area) {
  area = {header.sh_offset, header.sh_size, header.sh_addralign};
  return header.sh_type == SHT_NOTE;
}

/// Searches every note area that a table of @p Header names.
template <class Header>
Result<u64> search_table(ImageReader& image, u64 offset, u64 count, u64 entry_bytes, std::string_view name,
                         std::span<std::byte> descriptor) {
  if (offset == 0 || count == 0) return Code::NotFound;
  if (entry_bytes != sizeof(Header) || count > max_headers ||
      offset > std::numeric_limits<u64>::max() - count * sizeof(Header))
    return Code::Invalid;
  for (u64 i = 0; i < count; ++i) {
    Header header;
    NoteArea area;
    if (!read_value(image, offset + i * sizeof(Header), header)) return Code::Invalid;
    if (!note_area_of(header, area)) continue;
    Result<u64> found = search_area(image, area, name, descriptor);
    if (found.ok() || found.code() != Code::NotFound) return found;
  }
  return Code::NotFound;
}

}  // namespace

Result<u64> read_elf_note(ImageReader& image, std::string_view name, std::span<std::byte> descriptor) {
  Elf64_Ehdr header;
  if (!read_value(image, 0, header) || !is_our_kind(header)) return Code::Invalid;
  Result<u64> found =
      search_table<Elf64_Phdr>(image, header.e_phoff, header.e_phnum, header.e_phentsize, name, descriptor);
  if (!found.ok() && found.code() == Code::NotFound)
    found = search_table<Elf64_Shdr>(image, header.e_shoff, header.e_shnum, header.e_shentsize, name, descriptor);
  if (!found.ok() && found.code() == Code::NotFound) return Code::Invalid;
  return found;
}

bool MemoryImage::read(u64 offset, std::span<std::byte> to) {
  if (offset > x_bytes.size() || to.size() > x_bytes.size() - offset) return false;
  std::memcpy(to.data(), x_bytes.data() + offset, to.size());
  return true;
}

}  // namespace host
