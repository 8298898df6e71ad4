// The ELF note reader: images built by hand, right and broken.
#include "host/elf_note.hpp"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace host {
namespace {

constexpr u64 note_offset = 0x200;
constexpr u64 table_offset = sizeof(Elf64_Ehdr);

enum class Table { Segments, Sections };

/// One note area with two notes: "Other" and "Holdfast" with the descriptor "abc".
std::vector<std::byte> image_with_note(Table table, u64 alignment = 4) {
  std::vector<std::byte> image(0x400);
  auto put = [&](u64 at, const auto& value) { std::memcpy(image.data() + at, &value, sizeof value); };
  u64 at = note_offset;
  auto put_note = [&](const std::string& name, const std::string& descriptor) {
    put(at, Elf64_Nhdr{static_cast<u32>(name.size() + 1), static_cast<u32>(descriptor.size()), 1});
    std::memcpy(image.data() + at + sizeof(Elf64_Nhdr), name.c_str(), name.size() + 1);
    u64 descriptor_at = (at - note_offset + sizeof(Elf64_Nhdr) + name.size() + 1 + alignment - 1) & ~(alignment - 1);
    std::memcpy(image.data() + note_offset + descriptor_at, descriptor.data(), descriptor.size());
    at = note_offset + ((descriptor_at + descriptor.size() + alignment - 1) & ~(alignment - 1));
  };
  put_note("Other", "12345");
  put_note("Holdfast", "abc");
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = EM_X86_64;
  if (table == Table::Segments) {
    header.e_phoff = table_offset;
    header.e_phnum = 1;
    header.e_phentsize = sizeof(Elf64_Phdr);
    put(table_offset, Elf64_Phdr{.p_type = PT_NOTE,
                                 .p_flags = 0,
                                 .p_offset = note_offset,
                                 .p_vaddr = 0,
                                 .p_paddr = 0,
                                 .p_filesz = at - note_offset,
                                 .p_memsz = 0,
                                 .p_align = alignment});
  } else {
    header.e_shoff = table_offset;
    header.e_shnum = 1;
    header.e_shentsize = sizeof(Elf64_Shdr);
    put(table_offset, Elf64_Shdr{.sh_name = 0,
                                 .sh_type = SHT_NOTE,
                                 .sh_flags = 0,
                                 .sh_addr = 0,
                                 .sh_offset = note_offset,
                                 .sh_size = at - note_offset,
                                 .sh_link = 0,
                                 .sh_info = 0,
                                 .sh_addralign = alignment,
                                 .sh_entsize = 0});
  }
  put(0, header);
  return image;
}

Result<u64> read(const std::vector<std::byte>& bytes, std::string_view name, std::span<std::byte> to) {
  MemoryImage image(bytes);
  return read_elf_note(image, name, to);
}

TEST(ElfNote, FindsTheNoteBehindOthersInSegmentsAndSections) {
  for (Table table : {Table::Segments, Table::Sections}) {
    for (u64 alignment : {4u, 8u}) {
      std::array<std::byte, 16> descriptor{};
      const Result<u64> length = read(image_with_note(table, alignment), "Holdfast", descriptor);
      ASSERT_TRUE(length.ok());
      EXPECT_EQ(*length, 3u);
      EXPECT_EQ(std::memcmp(descriptor.data(), "abc", 4), 0);
    }
  }
}

TEST(ElfNote, AnswersInvalidWithoutTheNoteAndTooBigWithoutRoom) {
  std::array<std::byte, 16> descriptor{};
  const std::vector<std::byte> image = image_with_note(Table::Segments);
  EXPECT_EQ(read(image, "Holdfas", descriptor).code(), Code::Invalid);
  EXPECT_EQ(read(image, "Holdfast!", descriptor).code(), Code::Invalid);
  EXPECT_EQ(read(image, "Holdfast", std::span(descriptor).first(2)).code(), Code::TooBig);
  EXPECT_EQ(read({}, "Holdfast", descriptor).code(), Code::Invalid);
}

TEST(ElfNote, NeverReadsOutsideABrokenImage) {
  const std::vector<std::byte> good = image_with_note(Table::Segments);
  std::array<std::byte, 16> descriptor{};
  for (u64 length = 0; length < good.size(); ++length) {
    const std::vector<std::byte> cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length));
    (void)read(cut, "Holdfast", descriptor);
  }
  std::mt19937_64 random(1);  // NOLINT: the same bytes every time
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> bad = image_with_note(round % 2 == 0 ? Table::Segments : Table::Sections);
    for (int change = 0; change < 3; ++change) {
      const u64 at = random() % 2 == 0 ? random() % 0x80 : note_offset + random() % 0x40;
      bad[at] = random() % 3 == 0 ? std::byte{0xff} : static_cast<std::byte>(random());
    }
    (void)read(bad, "Holdfast", descriptor);
  }
}

}  // namespace
}  // namespace host
