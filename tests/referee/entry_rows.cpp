// The list of entries that are wrong or look so, what the manual says about each (VT-d 4.1, table 7-3), and where QEMU
// is known to do otherwise. See entries.hpp.
#include "tests/referee/entries.hpp"

namespace referee {
namespace {

using enum Place;

constexpr u64 bit(unsigned position) { return u64{1} << position; }
constexpr u64 bits(unsigned high, unsigned low) { return (~u64{0} >> (63 - high)) & ~(bit(low) - 1); }
constexpr u64 everything = ~u64{0};
constexpr u64 address = bits(51, 12);
constexpr u64 nowhere = bit(37);
constexpr u64 interrupts = 0xfee0'0000;

// One page of each size; what they lead to is not at their own address, which is RAM as well.
constexpr u64 small_page = 0x6345'6000;
constexpr u64 page_2m = 0x6380'3000;
constexpr u64 page_1g = 0x2345'6000;

constexpr Request write{small_page, Access::Write};
constexpr Request read{small_page, Access::Read};
constexpr Request write_2m{page_2m, Access::Write};
constexpr Request write_1g{page_1g, Access::Write};
constexpr Request hole{small_page + 0x1000, Access::Write};
constexpr Request hole_read{small_page + 0x1000, Access::Read};
constexpr Request beyond_tables{small_page | bit(39), Access::Write};
constexpr Request beyond_unit{small_page | bit(48), Access::Write};

constexpr Edit nothing{Paging, 1, 0, 0};

const EntryRow rows[] = {
    {"a page", nothing, write, arrives, arrives},
    {"a page, read", nothing, read, arrives, arrives},
    {"2 MiB page", nothing, write_2m, arrives, arrives},
    {"1 GiB page", nothing, write_1g, arrives, arrives},
    {"a hole", nothing, hole, 0x5, 0x85},
    {"a hole, read", nothing, hole_read, 0x6, 0x86},
    {"address beyond the unit's width", nothing, beyond_unit, 0x4, 0x83},

    {"root table outside RAM", {RootPointer, 0, 0, nowhere}, write, 0x8, 0x38},
    {"TTM 2", {RootPointer, 0, bits(11, 10), bit(11)}, write, 0x30, 0x30},
    {"TTM 3: abort all DMA", {RootPointer, 0, 0, bits(11, 10)}, write, refused_silently, refused_silently},

    {"root without P", {Root, 0, bit(0), 0}, write, 0x1, 0x39},
    {"root empty", {Root, 0, everything, 0}, write, 0x1, 0x39},
    {"root, reserved bit 1", {Root, 0, 0, bit(1)}, write, 0xa, 0x3a},
    {"root, reserved bit 11", {Root, 0, 0, bit(11)}, write, 0xa, 0x3a},
    {"root, address bit 48", {Root, 0, 0, bit(48)}, write, 0xa, 0x3a},
    {"root, reserved bit 64", {Root, 1, 0, bit(0)}, write, 0xa, absent},
    {"root, reserved bit 127", {Root, 1, 0, bit(63)}, write, 0xa, absent},
    {"root, UP", {Root, 1, 0, bit(0)}, write, absent, arrives},
    {"root, reserved bit 65 with UP = 0", {Root, 1, 0, bit(1)}, write, absent, arrives},
    {"root, reserved bit 65 with UP", {Root, 1, 0, bits(1, 0)}, write, absent, arrives},
    {"root, address bit 48 of the upper table", {Root, 1, 0, bit(48)}, write, absent, arrives},
    {"context table outside RAM", {Root, 0, 0, nowhere}, write, 0x9, 0x40},

    {"context without P", {Context, 0, bit(0), 0}, write, 0x2, 0x41},
    {"context empty", {Context, 0, everything, 0}, write, 0x2, 0x41},
    {"context with FPD, without P", {Context, 0, bit(0), bit(1)}, write, refused_silently, refused_silently},
    {"context with FPD", {Context, 0, 0, bit(1)}, write, arrives, arrives},
    {"context with FPD, a hole", {Context, 0, 0, bit(1)}, hole, refused_silently, refused_silently},
    {"context with FPD, beyond the width", {Context, 0, 0, bit(1)}, beyond_unit, refused_silently, refused_silently},
    {"context, address bit 48", {Context, 0, 0, bit(48)}, write, 0xb, 0x42},

    {"context, reserved bit 4", {Context, 0, 0, bit(4)}, write, 0xb, absent},
    {"context, reserved bit 11", {Context, 0, 0, bit(11)}, write, 0xb, absent},
    {"context, reserved bit 71", {Context, 1, 0, bit(7)}, write, 0xb, absent},
    {"context, reserved bit 88", {Context, 1, 0, bit(24)}, write, 0xb, absent},
    {"context, reserved bit 127", {Context, 1, 0, bit(63)}, write, 0xb, absent},
    {"context, ignored bits", {Context, 1, 0, bits(6, 3)}, write, arrives, absent},
    {"context with FPD, reserved bit 4", {Context, 0, 0, bit(1) | bit(4)}, write, refused_silently, absent},
    {"context, AW 0", {Context, 1, bits(2, 0), 0}, write, 0x3, absent},
    {"context, AW 57 bits", {Context, 1, bits(2, 0), 3}, write, 0x3, absent},
    {"context, AW 7", {Context, 1, 0, bits(2, 0)}, write, 0x3, absent},
    {"context, AW 39 bits, beyond them", {Context, 1, bits(2, 0), 1}, beyond_tables, 0x4, absent},
    {"context, TT 1 without device-TLB", {Context, 0, 0, bit(2)}, write, 0x3, absent},
    {"context, TT 3", {Context, 0, 0, bits(3, 2)}, write, 0x3, absent},
    {"context with FPD, TT 3", {Context, 0, 0, bits(3, 1)}, write, refused_silently, absent},
    {"context, TT 2: pass-through", {Context, 0, 0, bit(3)}, write, untranslated, absent},
    {"context, TT 2, read", {Context, 0, 0, bit(3)}, read, untranslated, absent},
    {"context, TT 2, top table outside RAM", {Context, 0, 0, bit(3) | nowhere}, write, untranslated, absent},
    {"context, TT 2, beyond the unit's width", {Context, 0, 0, bit(3)}, beyond_unit, 0x4, absent},
    {"context, TT 2, reserved bit 4", {Context, 0, 0, bits(4, 3)}, write, 0xb, absent},
    {"context, DID 0", {Context, 1, bits(23, 8), 0}, write, arrives, absent},
    {"context, DID 0xffff", {Context, 1, 0, bits(23, 8)}, write, arrives, absent},
    {"context, top table outside RAM", {Context, 0, address, nowhere}, write, 0x3, absent},

    {"context, reserved bit 5", {Context, 0, 0, bit(5)}, write, absent, 0x42},
    {"context, reserved bit 8", {Context, 0, 0, bit(8)}, write, absent, 0x42},
    {"context, reserved bit 85", {Context, 1, 0, bit(21)}, write, absent, 0x42},
    {"context, reserved bit 127", {Context, 1, 0, bit(63)}, write, absent, 0x42},
    {"context, reserved bit 128", {Context, 2, 0, bit(0)}, write, absent, 0x42},
    {"context, reserved bit 255", {Context, 3, 0, bit(63)}, write, absent, 0x42},
    {"context with FPD, reserved bit 5", {Context, 0, 0, bit(1) | bit(5)}, write, absent, refused_silently},
    {"context, PASIDE", {Context, 0, 0, bit(3)}, write, absent, arrives},
    {"context, DTE without device-TLB", {Context, 0, 0, bit(2)}, write, absent, 0x42},
    {"context, PRE without page requests", {Context, 0, 0, bit(4)}, write, absent, 0x42},
    {"context, PDTS 7", {Context, 0, 0, bits(11, 9)}, write, absent, arrives},
    {"context, PDTS too small for RID_PASID", {Context, 0, bits(11, 9), 0}, write, absent, 0x48},
    {"context, RID_PASID beyond the directory", {Context, 1, 0, bit(14)}, write, absent, 0x48},
    {"context, another directory, empty", {Context, 0, 0, bit(20)}, write, absent, 0x51},
    {"context, RID_PASID of an empty entry", {Context, 1, 0, bit(1)}, write, absent, 0x59},
    {"directory outside RAM", {Context, 0, address, nowhere}, write, absent, 0x50},

    {"directory entry without P", {Directory, 0, bit(0), 0}, write, absent, 0x51},
    {"directory entry with FPD, without P", {Directory, 0, bit(0), bit(1)}, write, absent, refused_silently},
    {"directory entry with FPD, a hole", {Directory, 0, 0, bit(1)}, hole, absent, refused_silently},
    {"directory entry, reserved bit 2", {Directory, 0, 0, bit(2)}, write, absent, 0x52},
    {"directory entry, reserved bit 11", {Directory, 0, 0, bit(11)}, write, absent, 0x52},
    {"directory entry, address bit 48", {Directory, 0, 0, bit(48)}, write, absent, 0x52},
    {"directory entry, address bit 63", {Directory, 0, 0, bit(63)}, write, absent, 0x52},
    {"directory entry, another table, empty", {Directory, 0, 0, bit(20)}, write, absent, 0x59},
    {"PASID table outside RAM", {Directory, 0, address, nowhere}, write, absent, 0x58},

    {"PASID entry without P", {Pasid, 0, bit(0), 0}, write, absent, 0x59},
    {"PASID entry with FPD, without P", {Pasid, 0, bit(0), bit(1)}, write, absent, refused_silently},
    {"PASID entry with FPD", {Pasid, 0, 0, bit(1)}, write, absent, arrives},
    {"PASID entry with FPD, a hole", {Pasid, 0, 0, bit(1)}, hole, absent, refused_silently},
    {"PASID entry, reserved bit 10", {Pasid, 0, 0, bit(10)}, write, absent, 0x5a},
    {"PASID entry, reserved bit 11", {Pasid, 0, 0, bit(11)}, write, absent, 0x5a},
    {"PASID entry with FPD, reserved bit 10", {Pasid, 0, 0, bit(1) | bit(10)}, write, absent, refused_silently},
    {"PASID entry, address bit 48", {Pasid, 0, 0, bit(48)}, write, absent, 0x5a},
    {"PASID entry, address bit 48, beyond the unit's width", {Pasid, 0, 0, bit(48)}, beyond_unit, absent, 0x5a},
    {"root, reserved bit 65, a hole", {Root, 1, 0, bit(1)}, hole, absent, 0x85},
    {"PASID entry, address bit 63", {Pasid, 0, 0, bit(63)}, write, absent, 0x5a},
    {"PASID entry, SSEE without execute requests", {Pasid, 0, 0, bit(5)}, write, absent, 0x5a},
    {"PASID entry, SSADE without its capability", {Pasid, 0, 0, bit(9)}, write, absent, 0x5a},
    {"PASID entry, reserved bit 80", {Pasid, 1, 0, bit(16)}, write, absent, 0x5a},
    {"PASID entry, reserved bit 86", {Pasid, 1, 0, bit(22)}, write, absent, 0x5a},
    {"PASID entry, PWSNP", {Pasid, 1, 0, bit(23)}, write, absent, arrives},
    {"PASID entry, PGSNP", {Pasid, 1, 0, bit(24)}, write, absent, arrives},
    {"PASID entry, memory types", {Pasid, 1, 0, bits(63, 25)}, write, absent, arrives},
    {"PASID entry, DID 0", {Pasid, 1, bits(15, 0), 0}, write, absent, arrives},
    {"PASID entry, DID 0xffff", {Pasid, 1, 0, bits(15, 0)}, write, absent, arrives},
    {"PASID entry, reserved bit 136", {Pasid, 2, 0, bit(8)}, write, absent, 0x5a},
    {"PASID entry, a first-stage pointer too", {Pasid, 2, 0, nowhere}, write, absent, arrives},
    {"PASID entry, reserved bit 192", {Pasid, 3, 0, bit(0)}, write, absent, 0x5a},
    {"PASID entry, reserved bit 511", {Pasid, 7, 0, bit(63)}, write, absent, 0x5a},
    {"PASID entry, PGTT 0", {Pasid, 0, bit(7), 0}, write, absent, 0x5b},
    {"PASID entry, PGTT 1: first stage", {Pasid, 0, bit(7), bit(6)}, write, absent, 0x5b},
    {"PASID entry, PGTT 3: nested", {Pasid, 0, 0, bit(6)}, write, absent, 0x5b},
    {"PASID entry, PGTT 4: pass-through", {Pasid, 0, bit(7), bit(8)}, write, absent, untranslated},
    {"PASID entry, PGTT 4, read", {Pasid, 0, bit(7), bit(8)}, read, absent, untranslated},
    {"PASID entry, PGTT 4, beyond the unit's width", {Pasid, 0, bit(7), bit(8)}, beyond_unit, absent, 0x83},
    {"PASID entry, PGTT 5", {Pasid, 0, bit(7), bit(8) | bit(6)}, write, absent, 0x5b},
    {"PASID entry, PGTT 6", {Pasid, 0, 0, bit(8)}, write, absent, 0x5b},
    {"PASID entry with FPD, PGTT 0", {Pasid, 0, bit(7), bit(1)}, write, absent, refused_silently},
    {"PASID entry, AW 0", {Pasid, 0, bits(4, 2), 0}, write, absent, 0x5b},
    {"PASID entry, AW 57 bits", {Pasid, 0, bits(4, 2), bits(3, 2)}, write, absent, 0x5b},
    {"PASID entry, AW 7", {Pasid, 0, 0, bits(4, 2)}, write, absent, 0x5b},
    {"PASID entry, AW 39 bits, beyond them", {Pasid, 0, bits(4, 2), bit(2)}, beyond_tables, absent, 0x83},
    {"PASID entry, top table outside RAM", {Pasid, 0, address, nowhere}, write, absent, 0x7b},

    {"leaf empty", {Paging, 1, everything, 0}, write, 0x5, 0x85},
    {"leaf without W", {Paging, 1, bit(1), 0}, write, 0x5, 0x85},
    {"leaf without W, read", {Paging, 1, bit(1), 0}, read, arrives, arrives},
    {"leaf without R", {Paging, 1, bit(0), 0}, read, 0x6, 0x86},
    {"table entry without W", {Paging, 3, bit(1), 0}, write, 0x5, 0x85},
    {"leaf, address bit 48", {Paging, 1, 0, bit(48)}, write, 0xc, 0x7a},
    {"leaf, address bit 51", {Paging, 1, 0, bit(51)}, write, 0xc, 0x7a},
    {"leaf, TM without device-TLB", {Paging, 1, 0, bit(62)}, write, 0xc, 0x7a},
    {"leaf, SNP", {Paging, 1, 0, bit(11)}, write, arrives, arrives},
    {"table entry, SNP", {Paging, 2, 0, bit(11)}, write, 0xc, arrives},
    {"PS at level 4", {Paging, 4, 0, bit(7)}, write, 0xc, 0x7a},
    {"misaligned 2 MiB page", {Paging, 2, 0, bit(12)}, write_2m, 0xc, 0x7a},
    {"misaligned 1 GiB page", {Paging, 3, 0, bit(29)}, write_1g, 0xc, 0x7a},
    {"next table outside RAM", {Paging, 2, address, nowhere}, write, 0x7, 0x78},
    {"leads into the interrupt range", {Paging, 1, address, interrupts}, write, 0xe, 0x87},
    {"leaf, ignored bits",
     {Paging, 1, 0, bit(2) | bit(7) | bits(10, 8) | bits(61, 52) | bit(63)},
     write,
     arrives,
     arrives},
};

}  // namespace

std::span<const EntryRow> entry_rows() { return rows; }

}  // namespace referee
