// The small FDTs of the handover (root, LUO subtree) through libfdt: reading untrusted ones, writing our own.
//
// A value in a property is a raw native-endian u64. Reading: after is_sound_fdt() libfdt stays inside the blob.
// Failure: NotFound and Corrupt when reading; NoMemory when a page is too small for what is written.
#pragma once

#include <libfdt.h>

#include <cstring>
#include <span>
#include <string_view>

#include "holdfast/base/result.hpp"

namespace holdfast::kho {

/// Header, structure and strings of @p fdt are consistent and inside @p size_bytes.
[[nodiscard]] inline bool is_sound_fdt(const std::byte* fdt, u64 size_bytes) {
  return size_bytes >= sizeof(fdt_header) && fdt_check_full(fdt, size_bytes) == 0;
}

/// Errors: NotFound (no such property), Corrupt (not eight bytes).
[[nodiscard]] inline Result<u64> read_fdt_number(const std::byte* fdt, int node, std::string_view property) {
  int length = 0;
  const void* value = fdt_getprop_namelen(fdt, node, property.data(), static_cast<int>(property.size()), &length);
  if (value == nullptr) return Code::NotFound;
  u64 number = 0;
  if (length != sizeof number) return Code::Corrupt;
  std::memcpy(&number, value, sizeof number);
  return number;
}

/// True when the node's "compatible" is exactly this one string.
[[nodiscard]] inline bool is_fdt_compatible(const std::byte* fdt, int node, std::string_view expected) {
  int length = 0;
  const void* value = fdt_getprop(fdt, node, "compatible", &length);
  return value != nullptr && static_cast<u64>(length) == expected.size() + 1 &&
         std::memcmp(value, expected.data(), expected.size()) == 0 &&
         static_cast<const char*>(value)[expected.size()] == '\0';
}

/// A subnode of exactly this name, or negative.
[[nodiscard]] inline int find_fdt_node(const std::byte* fdt, std::string_view name) {
  return fdt_subnode_offset_namelen(fdt, 0, name.data(), static_cast<int>(name.size()));
}

/// Writes one FDT from its beginning to its end; the first failure sticks. Names are literals or NUL-terminated.
class FdtWriter {
 public:
  explicit FdtWriter(std::span<std::byte> page) : x_page(page) {
    keep(fdt_create(page.data(), static_cast<int>(page.size())));
    keep(fdt_finish_reservemap(page.data()));
    begin("");
  }
  void begin(const char* name) { keep(fdt_begin_node(x_page.data(), name)); }
  void end() { keep(fdt_end_node(x_page.data())); }
  /// @p text is a literal: its NUL is written too.
  void string(const char* property, std::string_view text) {
    keep(fdt_property(x_page.data(), property, text.data(), static_cast<int>(text.size() + 1)));
  }
  void number(const char* property, u64 value) { keep(fdt_property(x_page.data(), property, &value, sizeof value)); }
  /// Errors: NoMemory.
  Status finish() {
    end();
    keep(fdt_finish(x_page.data()));
    if (x_failed) return Code::NoMemory;
    const auto used = static_cast<size_t>(fdt_totalsize(x_page.data()));
    std::memset(x_page.data() + used, 0, x_page.size() - used);
    return {};
  }

 private:
  void keep(int error) { x_failed = x_failed || error != 0; }
  std::span<std::byte> x_page;
  bool x_failed = false;
};

}  // namespace holdfast::kho
