// Where QEMU's unit answers otherwise than the modelled one, each with its reason. See entries.hpp.
#include "tests/referee/entries.hpp"

#include <algorithm>

namespace referee {
namespace {

using enum Place;

constexpr u64 bit(unsigned position) { return u64{1} << position; }
constexpr u64 bits(unsigned high, unsigned low) { return (~u64{0} >> (63 - high)) & ~(bit(low) - 1); }

constexpr auto legacy = Mode::Legacy;
constexpr auto scalable = Mode::Scalable;
constexpr auto both = std::nullopt;
constexpr auto qemu7 = Release::Qemu7;
constexpr auto qemu10 = Release::Qemu10;
constexpr u64 fpd = bit(1);

const char* const numbers = "QEMU numbers these faults in scalable mode as in legacy mode";
const char* const one_number = "QEMU 7 has one number for everything about PASID structures";
const char* const unchecked = "QEMU does not look at these bits";
const char* const untouched = "QEMU does not look at the address of what passes untranslated";
const char* const type_first = "QEMU 10 looks at PGTT before P; an empty entry has an unknown PGTT";
const char* const late_fpd = "QEMU takes FPD of directory and PASID entries only from those that pass its checks";
const char* const qualified = "QEMU has reserved bits of a context entry among the faults that FPD does not silence";
const char* const second_stage = "QEMU 7 walks the second-stage pointer, whatever the type says";

// The first that matches holds; those about places come before the numbers of codes.
const EntryDifference differences[] = {
    {"QEMU looks at bit 10 of the root pointer register alone", legacy, both, 0x30, arrives, RootPointer, 0,
     bits(11, 10)},
    {"QEMU looks at bit 10 of the root pointer register alone", scalable, both, 0x30, 0x2, RootPointer, 0,
     bits(11, 10)},
    {"QEMU looks at bit 10 of the root pointer register alone", both, both, refused_silently, arrives, RootPointer, 0,
     bits(11, 10)},
    {"QEMU looks at the reserved bits of both halves", scalable, both, whatever, 0xa, Root, 1, bits(63, 0),
     bits(63, 48) | bits(11, 1)},
    {qualified, legacy, both, refused_silently, 0xb, Context, 0, fpd | bits(11, 4), bits(11, 4)},
    {qualified, scalable, both, refused_silently, 0xb, Context, 0, fpd | bits(8, 5), bits(8, 5)},
    {"QEMU's unit has no snoop control (ECAP.SC)", legacy, both, arrives, 0xc, Paging, 1, bit(11)},
    {"QEMU holds SNP of table entries reserved in scalable mode as well", scalable, both, arrives, 0xc, Paging, 2,
     bit(11)},

    {untouched, legacy, both, 0x4, unseen, Context, 0, bit(3)},
    {untouched, scalable, both, 0x83, unseen, Pasid, 0, bits(8, 7), bit(8)},

    {unchecked, scalable, both, 0x42, as_without, Context, 0, bit(4) | bit(2)},
    {"QEMU does not look at PDTS", scalable, both, 0x48, as_without, Context, 0, bits(11, 9)},
    {"QEMU does not look at PDTS; behind the directory is nothing", scalable, qemu7, 0x48, 0x58, Context, 1},
    {"QEMU does not look at PDTS; behind the directory is nothing", scalable, qemu10, 0x48, 0x51, Context, 1},
    {type_first, scalable, qemu10, 0x59, 0x5b, Context, 1},

    {unchecked, scalable, both, 0x52, as_without, Directory, 0, bits(11, 2)},
    {"QEMU does not look at these bits, and reads the table there", scalable, both, 0x52, 0x58, Directory, 0,
     bits(63, 48)},
    {type_first, scalable, qemu10, 0x59, 0x5b, Directory, 0},
    {late_fpd, scalable, qemu7, refused_silently, 0x58, Directory, 0, bits(1, 0), bit(0)},
    {late_fpd, scalable, qemu10, refused_silently, 0x51, Directory, 0, bits(1, 0), bit(0)},

    {"QEMU does not look at these bits, and compares the address first", scalable, both, 0x5a, 0x4, Pasid, 0,
     bits(63, 48), bits(63, 48), 0x83},
    {"QEMU does not look at these bits, and reads the top table there", scalable, both, 0x5a, 0x3, Pasid, 0,
     bits(63, 48)},
    {unchecked, scalable, both, 0x5a, as_without, Pasid, any_word},
    {unchecked, scalable, both, refused_silently, as_without, Pasid, 0, fpd | bits(11, 10), bits(11, 10)},
    {second_stage, scalable, qemu7, 0x5b, as_without, Pasid, 0, bits(7, 6), bit(6)},  // PGTT 1 and 3
    {late_fpd, scalable, qemu7, refused_silently, 0x58, Pasid, 0, bits(1, 0), bit(0)},
    {late_fpd, scalable, qemu10, refused_silently, 0x59, Pasid, 0, bits(1, 0), bit(0)},
    {late_fpd, scalable, qemu7, refused_silently, 0x58, Pasid, 0, fpd | bits(8, 6), bits(8, 6)},
    {late_fpd, scalable, qemu10, refused_silently, 0x5b, Pasid, 0, fpd | bits(8, 6), bits(8, 6)},

    {numbers, scalable, both, 0x38, 0x8},
    {numbers, scalable, both, 0x39, 0x1},
    {numbers, scalable, both, 0x3a, 0xa},
    {numbers, scalable, both, 0x40, 0x9},
    {numbers, scalable, both, 0x41, 0x2},
    {numbers, scalable, both, 0x42, 0xb},
    {one_number, scalable, qemu7, 0x50, 0x58},
    {one_number, scalable, qemu7, 0x51, 0x58},
    {one_number, scalable, qemu7, 0x59, 0x58},
    {one_number, scalable, qemu7, 0x5b, 0x58},
    {numbers, scalable, both, 0x78, 0x7},
    {numbers, scalable, both, 0x7a, 0xc},
    {numbers, scalable, both, 0x7b, 0x3},
    {numbers, scalable, both, 0x83, 0x4},
    {numbers, scalable, both, 0x85, 0x5},
    {numbers, scalable, both, 0x86, 0x6},
};

bool matches(const EntryDifference& difference, Mode mode, Release release, const Edit* edit, Verdict unit,
             Verdict without) {
  if (difference.mode.value_or(mode) != mode || difference.release.value_or(release) != release) return false;
  if (difference.unit != unit && difference.unit != whatever) return false;
  if (difference.without.value_or(without) != without) return false;
  if (!difference.place) return true;
  if (edit == nullptr || edit->place != *difference.place) return false;
  if (difference.word != any_word && edit->word != difference.word) return false;
  const u64 changed = edit->clear | edit->set;
  return (changed & ~difference.bits) == 0 && (changed & difference.one_of) != 0;
}

const EntryDifference* find(Mode mode, Release release, const Edit* edit, Verdict unit, Verdict without) {
  const auto found = std::ranges::find_if(
      differences, [&](const auto& difference) { return matches(difference, mode, release, edit, unit, without); });
  return found != std::end(differences) ? found : nullptr;
}

}  // namespace

std::span<const EntryDifference> known_entry_differences() { return differences; }

Expected expected_of_qemu(Mode mode, Release release, const Edit* edit, Verdict unit, Verdict without) {
  const EntryDifference* by = find(mode, release, edit, unit, without);
  if (by == nullptr) return {unit, nullptr};
  if (by->qemu != as_without) return {by->qemu, by};
  return {expected_of_qemu(mode, release, nullptr, without, without).verdict, by};
}

}  // namespace referee
