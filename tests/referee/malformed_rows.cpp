// The list of malformed tables. See malformed.hpp.
#include "tests/referee/malformed.hpp"

namespace referee {
namespace {

using enum pt::VerifyReason;

constexpr u64 bit(unsigned position) { return u64{1} << position; }
constexpr u64 everything = ~u64{0};
constexpr u64 address = 0x000f'ffff'ffff'f000;
constexpr u64 riscv_address = address >> 2;
constexpr u64 nowhere = bit(37);
constexpr Access read = Access::Read;
constexpr Access write = Access::Write;

const MalformedRow rows[] = {
    {"vtd_legacy|vtd_scalable", "empty leaf", 12, 0, everything, 0, write, 0x5, 0x5, None},
    {"vtd_legacy|vtd_scalable", "empty leaf, read", 12, 0, everything, 0, read, 0x6, 0x6, None},
    {"vtd_legacy|vtd_scalable", "leaf without W", 12, 0, bit(1), 0, write, 0x5, 0x5, None},
    {"vtd_legacy|vtd_scalable", "leaf without R", 12, 0, bit(0), 0, read, 0x6, 0x6, None},
    {"vtd_legacy|vtd_scalable", "level 1 entry without W", 12, 1, bit(1), 0, write, 0x5, 0x5, Permission},
    {"vtd_legacy|vtd_scalable", "level 3 entry without R", 12, 3, bit(0), 0, read, 0x6, 0x6, Permission},
    {"vtd_legacy|vtd_scalable", "empty level 2 entry", 12, 2, everything, 0, write, 0x5, 0x5, TooFewTables},
    {"vtd_legacy|vtd_scalable", "address bit 48", 12, 0, 0, bit(48), write, 0xc, 0xc, LeafTarget},
    {"vtd_legacy|vtd_scalable", "address bit 51 of a table", 12, 1, 0, bit(51), write, 0xc, 0xc, NotOwned},
    {"vtd_legacy|vtd_scalable", "TM", 12, 0, 0, bit(62), write, 0xc, 0xc, ReservedBits},
    {"vtd_legacy", "SNP", 12, 0, 0, bit(11), write, 0xc, 0xc, None},
    {"vtd_scalable", "SNP", 12, 0, 0, bit(11), write, passes, passes, None},
    {"vtd_legacy|vtd_scalable", "SNP of a table", 12, 1, 0, bit(11), write, 0xc, 0xc, ReservedBits},
    {"vtd_legacy|vtd_scalable", "PS at level 3", 12, 3, 0, bit(7), write, 0xc, 0xc, TooFewTables},
    {"vtd_legacy|vtd_scalable", "misaligned 2 MiB page", 21, 1, 0, bit(12), write, 0xc, 0xc, ReservedBits},
    {"vtd_legacy|vtd_scalable", "misaligned 1 GiB page", 30, 2, 0, bit(29), write, 0xc, 0xc, ReservedBits},
    {"vtd_legacy|vtd_scalable", "next table outside RAM", 12, 1, address, nowhere, write, 0x7, 0x7, NotOwned},
    {"vtd_legacy", "leads into the interrupt range", 12, 0, address, 0xfee0'0000, write, 0xe, passes, LeafTarget,
     "the unit refuses the address, whatever the tables say"},
    {"vtd_scalable", "leads into the interrupt range", 12, 0, address, 0xfee0'0000, write, 0x87, passes, LeafTarget,
     "the unit refuses the address, whatever the tables say"},
    {"vtd_legacy|vtd_scalable", "X", 12, 0, 0, bit(2), write, passes, passes, ReservedBits},
    {"vtd_legacy|vtd_scalable", "EMT and IPAT", 12, 0, 0, 0x78, write, passes, passes, ReservedBits},
    {"vtd_legacy|vtd_scalable", "bit 7 of a 4 KiB leaf", 12, 0, 0, bit(7), write, passes, passes, ReservedBits},
    {"vtd_legacy|vtd_scalable", "A and D", 12, 0, 0, bit(8) | bit(9), write, passes, passes, None},
    {"vtd_legacy|vtd_scalable", "bit 10", 12, 0, 0, bit(10), write, passes, passes, ReservedBits},
    {"vtd_legacy|vtd_scalable", "bit 63", 12, 0, 0, bit(63), write, passes, passes, ReservedBits},

    {"vtd_first", "leaf without P", 12, 0, bit(0), 0, write, 0x71, 0x71, ReservedBits},
    {"vtd_first", "leaf without R/W", 12, 0, bit(1), 0, write, 0x85, 0x85, None},
    {"vtd_first", "leaf without R/W, read", 12, 0, bit(1), 0, read, passes, passes, None},
    {"vtd_first", "leaf without U/S", 12, 0, bit(2), 0, read, 0x81, 0x81, None},
    {"vtd_first", "level 1 entry without P", 12, 1, bit(0), 0, write, 0x71, 0x71, TooFewTables},
    {"vtd_first", "level 1 entry without R/W", 12, 1, bit(1), 0, write, 0x85, 0x85, Permission},
    {"vtd_first", "level 2 entry without U/S", 12, 2, bit(2), 0, write, 0x81, 0x81, Permission},
    {"vtd_first", "leaf without A", 12, 0, bit(5), 0, write, passes, passes, None},
    {"vtd_first", "leaf without D", 12, 0, bit(6), 0, write, passes, passes, None},
    {"vtd_first", "PCD and PWT", 12, 0, 0, 0x18, write, passes, passes, ReservedBits},
    {"vtd_first", "PAT of a 4 KiB leaf", 12, 0, 0, bit(7), write, passes, passes, ReservedBits},
    {"vtd_first", "G", 12, 0, 0, bit(8), write, passes, passes, ReservedBits},
    {"vtd_first", "PS at level 3", 12, 3, 0, bit(7), write, 0x72, 0x72, TooFewTables},
    {"vtd_first", "address bit 48", 12, 0, 0, bit(48), write, 0x72, 0x72, LeafTarget},
    {"vtd_first", "misaligned 2 MiB page", 21, 1, 0, bit(13), write, 0x72, 0x72, ReservedBits},
    {"vtd_first", "misaligned 1 GiB page", 30, 2, 0, bit(29), write, 0x72, 0x72, ReservedBits},
    {"vtd_first", "PAT of a 2 MiB page", 21, 1, 0, bit(12), write, passes, passes, ReservedBits},
    {"vtd_first", "next table outside RAM", 12, 1, address, nowhere, write, 0x70, 0x70, NotOwned},
    {"vtd_first", "leads into the interrupt range", 12, 0, address, 0xfee0'0000, write, 0x87, passes, LeafTarget,
     "the unit refuses the address, whatever the tables say"},
    {"vtd_first", "XD", 12, 0, 0, bit(63), write, passes, passes, ReservedBits},

    {"amd", "leaf without PR", 12, 0, bit(0), 0, write, passes, refuses, ReservedBits,
     "QEMU does not look at PR of the last entry"},
    {"amd", "leaf without IW", 12, 0, bit(62), 0, write, refuses, refuses, None},
    {"amd", "leaf without IR", 12, 0, bit(61), 0, read, refuses, refuses, None},
    {"amd", "level 1 entry without IW", 12, 1, bit(62), 0, write, refuses, refuses, Permission},
    {"amd", "level 2 entry without IR", 12, 2, bit(61), 0, read, refuses, refuses, Permission},
    {"amd", "level 3 entry without PR", 12, 3, bit(0), 0, write, refuses, refuses, TooFewTables},
    {"amd", "U, FC", 12, 0, 0, bit(59) | bit(60), write, passes, passes, ReservedBits},
    {"amd", "bits 8:7 and 4:1", 12, 0, 0, 0x19e, write, passes, passes, ReservedBits},
    {"amd", "bit 63", 12, 0, 0, bit(63), write, passes, passes, ReservedBits},
    {"amd", "address bit 51", 12, 0, 0, bit(51), write, refuses, passes, LeafTarget,
     "the address is a good one, but there is no memory"},
    {"amd", "NextLevel of the entry's own level", 12, 1, 7 << 9, 2 << 9, write, refuses, refuses, ReservedBits},
    {"amd", "NextLevel above the entry's own level", 12, 1, 7 << 9, 4 << 9, write, refuses, refuses, ReservedBits},
    {"amd", "NextLevel 1 in a leaf", 12, 0, 0, 1 << 9, write, refuses, refuses, ReservedBits},
    {"amd", "a size that is no page of the level", 12, 0, 7 << 9, 7 << 9 | 0x1f'f000, write, refuses, refuses,
     ReservedBits},
    {"amd", "misaligned 2 MiB page", 21, 1, 0, bit(12), write, passes, refuses, ReservedBits,
     "QEMU takes the low address bits of a large page from the IOVA alone"},
    {"amd", "next table outside RAM", 12, 1, address, nowhere, write, refuses, refuses, NotOwned},

    {"smmu_stage", "leaf without the valid bit", 12, 0, bit(0), 0, write, 0x10, 0x10, ReservedBits},
    {"smmu_stage", "a block at the last level", 12, 0, bit(1), 0, write, 0x10, 0x10, ReservedBits},
    {"smmu_stage", "table without the valid bit", 12, 2, bit(0), 0, write, 0x10, 0x10, TooFewTables},
    {"smmu_stage1", "a block at the top", 12, 3, bit(1), 0, write, refuses, 0x10, TooFewTables,
     "QEMU takes a block at any level; this one leads to where no memory is"},
    {"smmu_stage2", "a block at the top", 12, 3, bit(1), 0, write, 0x12, 0x10, TooFewTables,
     "QEMU takes a block at any level; as a block this has no AF"},
    {"smmu_stage1", "leaf without AF", 12, 0, bit(10), 0, write, passes, 0x12, None, "QEMU 7 does not look at AF"},
    {"smmu_stage2", "leaf without AF", 12, 0, bit(10), 0, write, 0x12, 0x12, None},
    {"smmu_stage1", "address bit 45", 12, 0, 0, bit(45), write, refuses, 0x11, LeafTarget,
     "QEMU 7 does not compare a page with the output size; there is no memory"},
    {"smmu_stage2", "address bit 45", 12, 0, 0, bit(45), write, 0x11, 0x11, LeafTarget},
    {"smmu_stage", "address bit 46 of a table", 12, 1, 0, bit(46), write, 0xb, 0x11, NotOwned,
     "QEMU reads the table first, where no memory is"},
    {"smmu_stage", "misaligned 2 MiB page", 21, 1, 0, bit(16), write, passes, passes, ReservedBits},
    {"smmu_stage", "next table outside RAM", 12, 1, address, nowhere, write, 0xb, 0xb, NotOwned},
    {"smmu_stage", "bit 63", 12, 0, 0, bit(63), write, passes, passes, ReservedBits},
    {"smmu_stage", "a contiguous hint that stands alone", 12, 0, 0, bit(52), write, passes, passes, Contiguous},
    {"smmu_stage1", "read-only leaf", 12, 0, 0, bit(7), write, 0x13, 0x13, None},
    {"smmu_stage1", "leaf for privileged requests", 12, 0, bit(6), 0, read, passes, 0x13, None,
     "QEMU does not look at AP[1]"},
    {"smmu_stage1", "APTable forbids writing", 12, 1, 0, bit(62), write, 0x13, 0x13, ReservedBits},
    {"smmu_stage1", "APTable forbids unprivileged requests", 12, 1, 0, bit(61), write, passes, 0x13, ReservedBits,
     "QEMU does not look at APTable[0]"},
    {"smmu_stage2", "leaf without S2AP write", 12, 0, bit(7), 0, write, 0x13, 0x13, None},
    {"smmu_stage2", "leaf without S2AP read", 12, 0, bit(6), 0, read, 0x13, 0x13, None},

    {"riscv", "leaf without V", 12, 0, bit(0), 0, write, 0xf, 0xf, ReservedBits},
    {"riscv", "leaf without W", 12, 0, bit(2), 0, write, 0xf, 0xf, ReservedBits},
    {"riscv", "W without R", 12, 0, bit(1), 0, write, 0xf, 0xf, ReservedBits},
    {"riscv", "leaf without U", 12, 0, bit(4), 0, write, passes, 0xf, None, "QEMU does not look at U"},
    {"riscv", "leaf without A", 12, 0, bit(6), 0, read, 0xd, 0xd, None},
    {"riscv", "leaf without D", 12, 0, bit(7), 0, write, 0xf, 0xf, ReservedBits},
    {"riscv", "leaf without D, read", 12, 0, bit(7), 0, read, passes, passes, ReservedBits},
    {"riscv", "G", 12, 0, 0, bit(5), write, passes, passes, ReservedBits},
    {"riscv", "RSW", 12, 0, 0, bit(8) | bit(9), write, passes, passes, ReservedBits},
    {"riscv", "PBMT without Svpbmt", 12, 0, 0, bit(61), write, refuses, 0xf, ReservedBits,
     "QEMU takes them for address bits; there is no memory"},
    {"riscv", "N without Svnapot", 12, 0, 0, bit(63), write, passes, 0xf, ReservedBits, "QEMU does not look at N"},
    {"riscv", "D, A and U of a table", 12, 1, 0, bit(4) | bit(6) | bit(7), write, passes, 0xf, ReservedBits,
     "QEMU does not look at D, A and U of a table"},
    {"riscv", "table without V", 12, 2, bit(0), 0, write, 0xf, 0xf, TooFewTables},
    {"riscv", "table at the last level", 12, 0, bit(1) | bit(2) | bit(3), 0, write, 0xf, 0xf, ReservedBits},
    {"riscv", "misaligned 2 MiB page", 21, 1, 0, bit(10), write, 0xf, 0xf, ReservedBits},
    {"riscv", "misaligned 1 GiB page", 30, 2, 0, bit(10), write, 0xf, 0xf, ReservedBits},
    {"riscv", "next table outside RAM", 12, 1, riscv_address, nowhere >> 2, write, 0x7, 0x7, NotOwned},
};

}  // namespace

std::span<const MalformedRow> malformed_rows() { return rows; }

}  // namespace referee
