#include "metal/elf_image.hpp"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace metal {
namespace {

/// A small position-independent program: one loaded segment, the rest of it not in the file.
struct Program {
  Elf64_Ehdr header{};
  Elf64_Phdr segments[2]{};
  std::byte code[64]{};
};

Program good_program() {
  Program program;
  std::memcpy(program.header.e_ident, ELFMAG, SELFMAG);
  program.header.e_ident[EI_CLASS] = ELFCLASS64;
  program.header.e_ident[EI_DATA] = ELFDATA2LSB;
  program.header.e_type = ET_DYN;
  program.header.e_machine = EM_X86_64;
  program.header.e_phoff = offsetof(Program, segments);
  program.header.e_phentsize = sizeof(Elf64_Phdr);
  program.header.e_phnum = 2;
  program.header.e_entry = 0x2010;
  program.segments[0] = {.p_type = PT_LOAD,
                         .p_flags = 7,
                         .p_offset = offsetof(Program, code),
                         .p_vaddr = 0x2000,
                         .p_paddr = 0,
                         .p_filesz = 64,
                         .p_memsz = 0x1100,
                         .p_align = 0x1000};
  program.segments[1] = {.p_type = PT_NOTE,
                         .p_flags = 4,
                         .p_offset = ~u64{0},
                         .p_vaddr = ~u64{0},
                         .p_paddr = 0,
                         .p_filesz = ~u64{0},
                         .p_memsz = 1,
                         .p_align = 4};
  for (std::byte& byte : program.code) byte = std::byte{0x5a};
  return program;
}

Result<u64> load(const Program& program, std::vector<std::byte>& place) {
  host::MemoryImage file(std::as_bytes(std::span(&program, 1)));
  return load_image(file, place);
}

TEST(ElfImage, IsPutIntoItsPlaceAndTheRestIsCleared) {
  const Program program = good_program();
  std::vector<std::byte> place(0x1200, std::byte{0xff});
  const auto entry = load(program, place);
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(*entry, 0x10u);
  EXPECT_EQ(std::memcmp(place.data(), program.code, 64), 0);
  for (std::size_t i = 64; i < 0x1100; ++i) ASSERT_EQ(place[i], std::byte{0}) << i;
  for (std::size_t i = 0x1100; i < place.size(); ++i) ASSERT_EQ(place[i], std::byte{0xff}) << "beyond the image";
}

TEST(ElfImage, AnExactFitIsEnoughAndOneByteLessIsNot) {
  const Program program = good_program();
  std::vector<std::byte> place(0x1100);
  EXPECT_TRUE(load(program, place).ok());
  place.resize(0x10ff);
  place.assign(place.size(), std::byte{0xff});
  EXPECT_EQ(load(program, place).code(), Code::TooBig);
  for (const std::byte byte : place) ASSERT_EQ(byte, std::byte{0xff}) << "a refused image writes nothing";
}

TEST(ElfImage, NothingInItIsBelieved) {
  std::vector<std::byte> place(0x2000);
  const auto expect = [&](Code code, const char* what, auto&& change) {
    Program program = good_program();
    change(program);
    EXPECT_EQ(load(program, place).code(), code) << what;
  };
  expect(Code::Invalid, "magic", [](Program& p) { p.header.e_ident[0] = 0; });
  expect(Code::Invalid, "32 bit", [](Program& p) { p.header.e_ident[EI_CLASS] = ELFCLASS32; });
  expect(Code::Invalid, "another machine", [](Program& p) { p.header.e_machine = EM_AARCH64; });
  expect(Code::Invalid, "not position independent", [](Program& p) { p.header.e_type = ET_EXEC; });
  expect(Code::Invalid, "header size", [](Program& p) { p.header.e_phentsize = 32; });
  expect(Code::Invalid, "too many headers", [](Program& p) { p.header.e_phnum = 1000; });
  expect(Code::Io, "headers that wrap", [](Program& p) { p.header.e_phoff = ~u64{0} - 10; });
  expect(Code::Io, "headers beyond the file", [](Program& p) { p.header.e_phoff = sizeof(Program); });
  expect(Code::Invalid, "nothing to load", [](Program& p) { p.segments[0].p_type = PT_NULL; });
  expect(Code::Invalid, "more file than memory", [](Program& p) { p.segments[0].p_filesz = 0x1101; });
  expect(Code::Invalid, "a segment that wraps", [](Program& p) { p.segments[0].p_vaddr = ~u64{0} - 0xfff; });
  expect(Code::TooBig, "segments far apart", [](Program& p) {
    p.segments[1] = p.segments[0];
    p.segments[1].p_vaddr = u64{1} << 40;
  });
  expect(Code::Io, "a segment beyond the file", [](Program& p) { p.segments[0].p_offset = sizeof(Program) - 63; });
  expect(Code::Invalid, "an entry before the image", [](Program& p) { p.header.e_entry = 0x1fff; });
  expect(Code::Invalid, "an entry behind the image", [](Program& p) { p.header.e_entry = 0x3100; });
}

}  // namespace
}  // namespace metal
