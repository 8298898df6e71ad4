// The default panic hook and the names of error codes.
#include "holdfast/base/panic.hpp"

#include <cstdlib>

#include "holdfast/base/result.hpp"

extern "C" __attribute__((weak)) [[noreturn]] void holdfast_panic(const char*, const char*, unsigned) { std::abort(); }

namespace holdfast {

std::string_view errno_name(Code code) {
  switch (code) {
    case Code::Ok: return "OK";
    case Code::NotPermitted: return "EPERM";
    case Code::NotFound: return "ENOENT";
    case Code::Io: return "EIO";
    case Code::NoAddress: return "ENXIO";
    case Code::TooBig: return "E2BIG";
    case Code::BadFd: return "EBADF";
    case Code::Again: return "EAGAIN";
    case Code::NoMemory: return "ENOMEM";
    case Code::AccessDenied: return "EACCES";
    case Code::Fault: return "EFAULT";
    case Code::Busy: return "EBUSY";
    case Code::Exists: return "EEXIST";
    case Code::NoDevice: return "ENODEV";
    case Code::Invalid: return "EINVAL";
    case Code::TooManyFiles: return "EMFILE";
    case Code::NotIoctl: return "ENOTTY";
    case Code::NoSpace: return "ENOSPC";
    case Code::OutOfRange: return "ERANGE";
    case Code::NoData: return "ENODATA";
    case Code::Overflow: return "EOVERFLOW";
    case Code::BadFdState: return "EBADFD";
    case Code::MessageSize: return "EMSGSIZE";
    case Code::UnknownVersion: return "EPROTONOSUPPORT";
    case Code::NotSupported: return "EOPNOTSUPP";
    case Code::AddressInUse: return "EADDRINUSE";
    case Code::TimedOut: return "ETIMEDOUT";
    case Code::Mismatch: return "ESTALE";
    case Code::Corrupt: return "EUCLEAN";
  }
  return "E?";
}

}  // namespace holdfast
