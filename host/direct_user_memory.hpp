// User memory of a program that shares the kernel's address space: the VMM that a world runs beside its kernel.
//
// There is no page table between the two, so only what can never be an object is refused: the first page, and a range
// that wraps. A caller in this position is trusted with more than a real process would be; the name says so.
#pragma once

#include <cstring>

#include "holdfast/base/user_memory.hpp"

namespace host {

class DirectUserMemory final : public holdfast::UserMemory {
 public:
  holdfast::Status read(holdfast::u64 user_address, std::span<std::byte> to) override {
    if (!plausible(user_address, to.size())) return holdfast::Code::Fault;
    std::memcpy(to.data(), reinterpret_cast<const void*>(user_address), to.size());
    return {};
  }
  holdfast::Status write(holdfast::u64 user_address, std::span<const std::byte> from) override {
    if (!plausible(user_address, from.size())) return holdfast::Code::Fault;
    std::memcpy(reinterpret_cast<void*>(user_address), from.data(), from.size());
    return {};
  }

 private:
  static bool plausible(holdfast::u64 address, holdfast::u64 size) {
    return address >= holdfast::page_size_bytes && address + size >= address;
  }
};

}  // namespace host
