// Checksum of the records of ours that cross a jump: 64 bits over bytes, the checksum field itself taken as zero.
//
// It finds damage, not malice: whoever can write a record can make it right again, so everything a record says is
// checked against the machine as well. The mixing is fixed for ever by the golden value in its test. No behaviour else.
#pragma once

#include <bit>
#include <cstddef>
#include <span>
#include <type_traits>

#include "holdfast/base/types.hpp"

namespace holdfast::abi {

/// Spreads every bit of @p value over all of the result; a bijection.
[[nodiscard]] constexpr u64 mix64(u64 value) {
  value ^= value >> 32;
  value *= 0xd6e8feb86659fd93;
  value ^= value >> 32;
  value *= 0xd6e8feb86659fd93;
  value ^= value >> 32;
  return value;
}

/// One more 64-bit word for a running checksum; order matters.
[[nodiscard]] constexpr u64 checksum_add(u64 sum, u64 word) {
  return mix64(std::rotl(sum, 17) ^ word) + 0x9e3779b97f4a7c15;
}

/// Over all of @p bytes in little-endian words, the last one filled up with zeros, then the length. The 8 bytes at
/// @p field_offset count as zero; an offset at or beyond the end leaves nothing out.
[[nodiscard]] inline u64 checksum(std::span<const std::byte> bytes, u64 field_offset) {
  u64 sum = 0;
  for (u64 at = 0; at < bytes.size(); at += 8) {
    u64 word = 0;
    for (u64 i = 0; i < 8 && at + i < bytes.size(); ++i) {
      const u64 position = at + i;
      const bool in_field = position >= field_offset && position - field_offset < 8;
      if (!in_field) word |= std::to_integer<u64>(bytes[position]) << (8 * i);
    }
    sum = checksum_add(sum, word);
  }
  return checksum_add(sum, bytes.size());
}

/// Over a record that holds its own checksum.
template <class Record>
  requires std::is_trivially_copyable_v<Record> && requires(Record record) { record.checksum; }
[[nodiscard]] u64 checksum_of(const Record& record) {
  static_assert(std::is_same_v<decltype(Record::checksum), u64>);
  const auto* start = reinterpret_cast<const std::byte*>(&record);
  const auto* field = reinterpret_cast<const std::byte*>(&record.checksum);
  return checksum({start, sizeof(Record)}, static_cast<u64>(field - start));
}

/// Over a record that holds none (Linux's layouts).
template <class Record>
  requires std::is_trivially_copyable_v<Record>
[[nodiscard]] u64 checksum_of_all(const Record& record) {
  return checksum(std::as_bytes(std::span<const Record, 1>(&record, 1)), ~u64{0});
}

}  // namespace holdfast::abi
