// Error codes and Result: how every fallible function of the library answers.
//
// A code is the Linux errno of the same meaning (uapi returns it negated). A caller's mistake and
// corrupt incoming state are Results; a broken invariant is a panic (base/panic.hpp).
// Use the statement forms:  TRY(f());   TRY_ASSIGN(auto x, g());
#pragma once

#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "holdfast/base/panic.hpp"
#include "holdfast/base/types.hpp"

namespace holdfast {

/// Values are Linux errno numbers (asm-generic/errno.h).
enum class Code : u8 {
  Ok = 0,
  NotPermitted = 1,     // EPERM
  NotFound = 2,         // ENOENT
  Io = 5,               // EIO
  NoAddress = 6,        // ENXIO
  TooBig = 7,           // E2BIG
  BadFd = 9,            // EBADF
  Again = 11,           // EAGAIN
  NoMemory = 12,        // ENOMEM
  AccessDenied = 13,    // EACCES
  Fault = 14,           // EFAULT
  Busy = 16,            // EBUSY
  Exists = 17,          // EEXIST
  NoDevice = 19,        // ENODEV
  Invalid = 22,         // EINVAL
  TooManyFiles = 24,    // EMFILE
  NotIoctl = 25,        // ENOTTY
  NoSpace = 28,         // ENOSPC
  OutOfRange = 34,      // ERANGE
  NoData = 61,          // ENODATA
  Overflow = 75,        // EOVERFLOW
  BadFdState = 77,      // EBADFD
  MessageSize = 90,     // EMSGSIZE
  UnknownVersion = 93,  // EPROTONOSUPPORT: written by a kernel that this one cannot read
  NotSupported = 95,    // EOPNOTSUPP
  AddressInUse = 98,    // EADDRINUSE
  TimedOut = 110,       // ETIMEDOUT
  Mismatch = 116,       // ESTALE: incoming state and the machine disagree
  Corrupt = 117,        // EUCLEAN: incoming state contradicts itself
};

/// Linux errno, positive; 0 for Ok.
[[nodiscard]] constexpr int to_errno(Code code) { return static_cast<int>(code); }

/// Name of the Linux errno ("EBUSY").
[[nodiscard]] std::string_view errno_name(Code code);

struct Error {
  Code code;
};

template <class T>
class [[nodiscard]] Result {
 public:
  static_assert(!std::is_reference_v<T>);
  constexpr Result(T value) : x_value(std::move(value)), x_code(Code::Ok) {}  // NOLINT: implicit by design
  constexpr Result(Error error) : x_code(error.code) {}                       // NOLINT
  constexpr Result(Code code) : x_code(code) {                                // NOLINT
    if (code == Code::Ok) panic("Result<T> made from Code::Ok");
  }

  [[nodiscard]] constexpr bool ok() const { return x_code == Code::Ok; }
  [[nodiscard]] constexpr explicit operator bool() const { return ok(); }
  [[nodiscard]] constexpr Code code() const { return x_code; }
  [[nodiscard]] constexpr Error error() const { return Error{x_code}; }

  constexpr T& value() & { return require(), *x_value; }
  constexpr const T& value() const& { return require(), *x_value; }
  constexpr T&& value() && { return require(), std::move(*x_value); }
  constexpr T& operator*() & { return value(); }
  constexpr const T& operator*() const& { return value(); }
  constexpr T* operator->() { return &value(); }
  constexpr const T* operator->() const { return &value(); }

 private:
  constexpr void require() const {
    if (!ok()) panic("value of a failed Result");
  }
  std::optional<T> x_value;
  Code x_code;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  constexpr Result() = default;
  constexpr Result(Error error) : x_code(error.code) {}  // NOLINT
  constexpr Result(Code code) : x_code(code) {}          // NOLINT

  [[nodiscard]] constexpr bool ok() const { return x_code == Code::Ok; }
  [[nodiscard]] constexpr explicit operator bool() const { return ok(); }
  [[nodiscard]] constexpr Code code() const { return x_code; }
  [[nodiscard]] constexpr Error error() const { return Error{x_code}; }

 private:
  Code x_code = Code::Ok;
};

using Status = Result<void>;

}  // namespace holdfast

#define HOLDFAST_CONCAT2(a, b) a##b
#define HOLDFAST_CONCAT(a, b) HOLDFAST_CONCAT2(a, b)

/// Leaves the enclosing function with the error of @p expr, if it has one.
#define TRY(expr)                                                                                   \
  do {                                                                                              \
    if (auto try_result_ = (expr); !try_result_.ok()) return ::holdfast::Error{try_result_.code()}; \
  } while (false)

/// TRY_ASSIGN(auto x, expr): declares or assigns x from the value of @p expr, or leaves with its error.
#define TRY_ASSIGN(target, ...) HOLDFAST_TRY_ASSIGN(HOLDFAST_CONCAT(try_assign_, __LINE__), target, __VA_ARGS__)
#define HOLDFAST_TRY_ASSIGN(name, target, ...)           \
  auto name = (__VA_ARGS__);                             \
  if (!name.ok()) return ::holdfast::Error{name.code()}; \
  target = std::move(name).value()

/// For a call that cannot fail; @p why says why.
#define MUST(expr, why)                                                         \
  do {                                                                          \
    if (auto must_result_ = (expr); !must_result_.ok()) ::holdfast::panic(why); \
  } while (false)
