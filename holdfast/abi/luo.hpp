// LUO, generation "luo-v1": the live update orchestrator's records, as they cross the jump. This interface is a
// contract.
//
// The KHO subtree "LUO" is one FDT page; it points at the session block and the FLB block, sessions point at their file
// blocks. A block is one naturally aligned power-of-two run of pages. Strings are NUL-terminated inside their field.
// Linux's sizes are the *_block_pages; ours may be larger (one larger contiguous block). Layout only, no behaviour.
#pragma once

#include <cstddef>
#include <string_view>

#include "holdfast/base/types.hpp"

namespace holdfast::abi::luo {

inline constexpr std::string_view subtree_name = "LUO";
inline constexpr std::string_view compatible = "luo-v1";
inline constexpr std::string_view number_property = "liveupdate-number";  // u64: which live update this one is, from 1
inline constexpr std::string_view session_node = "luo-session";
inline constexpr std::string_view session_compatible = "luo-session-v2";
inline constexpr std::string_view session_header_property = "luo-session-header";  // u64: address of the session block
inline constexpr std::string_view flb_node = "luo-flb";
inline constexpr std::string_view flb_compatible = "luo-flb-v1";
inline constexpr std::string_view flb_header_property = "luo-flb-header";  // u64: address of the FLB block

inline constexpr u64 name_bytes = 64;        // of a session, NUL included
inline constexpr u64 compatible_bytes = 48;  // of a file handler or FLB, NUL included

struct FileRecord {
  char compatible[compatible_bytes];  // which handler understands data
  u64 data;                           // the handler's: usually the address of its record
  u64 token;                          // user space's name for the file, unique in its session
};
static_assert(sizeof(FileRecord) == 64);
static_assert(offsetof(FileRecord, compatible) == 0);
static_assert(offsetof(FileRecord, data) == 48);
static_assert(offsetof(FileRecord, token) == 56);

struct FileSet {
  u64 files;  // address of count FileRecords; 0 when there are none
  u64 count;
};
static_assert(sizeof(FileSet) == 16);
static_assert(offsetof(FileSet, files) == 0);
static_assert(offsetof(FileSet, count) == 8);

struct SessionRecord {
  char name[name_bytes];
  FileSet file_set;
};
static_assert(sizeof(SessionRecord) == 80);
static_assert(offsetof(SessionRecord, name) == 0);
static_assert(offsetof(SessionRecord, file_set) == 64);

/// Head of the session block; the SessionRecords follow.
struct SessionHeader {
  u64 count;
};
static_assert(sizeof(SessionHeader) == 8);
static_assert(offsetof(SessionHeader, count) == 0);

/// Head of the FLB block; the FlbRecords follow.
struct FlbHeader {
  u64 page_count;
  u64 count;
};
static_assert(sizeof(FlbHeader) == 16);
static_assert(offsetof(FlbHeader, page_count) == 0);
static_assert(offsetof(FlbHeader, count) == 8);

struct FlbRecord {
  char name[compatible_bytes];
  u64 data;   // the FLB's: usually the address of its record
  u64 count;  // preserved files that depend on it
};
static_assert(sizeof(FlbRecord) == 64);
static_assert(offsetof(FlbRecord, name) == 0);
static_assert(offsetof(FlbRecord, data) == 48);
static_assert(offsetof(FlbRecord, count) == 56);

inline constexpr unsigned session_block_order = 4;  // Linux's block sizes
inline constexpr unsigned file_block_order = 1;
inline constexpr unsigned flb_block_order = 0;

[[nodiscard]] constexpr u64 sessions_per_block(unsigned order) {
  return ((page_size_bytes << order) - sizeof(SessionHeader)) / sizeof(SessionRecord);
}
[[nodiscard]] constexpr u64 files_per_block(unsigned order) { return (page_size_bytes << order) / sizeof(FileRecord); }
[[nodiscard]] constexpr u64 flbs_per_block(unsigned order) {
  return ((page_size_bytes << order) - sizeof(FlbHeader)) / sizeof(FlbRecord);
}
static_assert(sessions_per_block(session_block_order) == 819 && sessions_per_block(max_order) == 52428);
static_assert(files_per_block(file_block_order) == 128 && files_per_block(max_order) == 65536);
static_assert(flbs_per_block(flb_block_order) == 63);

}  // namespace holdfast::abi::luo
