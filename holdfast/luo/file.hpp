// File: an open file of any kind, and the table of a process's descriptors, as seen from below the user boundary.
//
// A File is counted: every descriptor, the orchestrator while it preserves the file, and objects that use it hold a
// reference. When the last one goes, release() undoes what the file stands for and frees it.
// Threads: the count is atomic; the operations run under the caller's locks (outermost: the kernel's).
// Failure: Result, with the errno the caller will see.
#pragma once

#include <atomic>
#include <utility>

#include "holdfast/base/result.hpp"
#include "holdfast/base/user_memory.hpp"

namespace holdfast::luo {

class File;
class FdTable;

/// Who is calling: everything a file operation may touch of the calling process.
struct CallContext {
  UserMemory& user;
  FdTable& fds;
};

class File {
 public:
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void retain() { x_references.fetch_add(1, std::memory_order_relaxed); }
  void drop() {
    // Pairs with the drops of other threads: whoever sees the last one also sees what they did before.
    if (x_references.fetch_sub(1, std::memory_order_acq_rel) == 1) release();
  }
  [[nodiscard]] u32 references() const { return x_references.load(std::memory_order_relaxed); }

  /// Address of the class's own `static constexpr char file_kind`; see file_cast().
  [[nodiscard]] virtual const void* kind() const = 0;
  /// Open flags as in open(2).
  [[nodiscard]] u32 open_flags() const { return x_open_flags; }

  virtual Result<u64> ioctl(CallContext&, u32 /*command*/, u64 /*argument*/) { return Code::NotIoctl; }
  /// Bytes transferred to user address @p to / from @p from.
  virtual Result<u64> pread(CallContext&, u64 /*to*/, u64 /*length*/, u64 /*offset*/) { return Code::Invalid; }
  virtual Result<u64> pwrite(CallContext&, u64 /*from*/, u64 /*length*/, u64 /*offset*/) { return Code::Invalid; }
  /// The user address of the mapping. @p protection as in mmap(2).
  virtual Result<u64> mmap(CallContext&, u64 /*length*/, u32 /*protection*/, u64 /*offset*/) { return Code::NoDevice; }

 protected:
  /// Born with one reference: the creator's.
  explicit File(u32 open_flags) : x_open_flags(open_flags) {}
  ~File() = default;
  /// The last reference is gone: frees the object.
  virtual void release() = 0;
  void set_open_flags(u32 flags) { x_open_flags = flags; }

 private:
  std::atomic<u32> x_references{1};
  u32 x_open_flags;
};

/// The file as a T, or nullptr when it is of another class. T declares `static constexpr char file_kind = 0;`.
template <class T>
[[nodiscard]] T* file_cast(File* file) {
  return file != nullptr && file->kind() == &T::file_kind ? static_cast<T*>(file) : nullptr;
}
template <class T>
[[nodiscard]] const T* file_cast(const File* file) {
  return file != nullptr && file->kind() == &T::file_kind ? static_cast<const T*>(file) : nullptr;
}

/// One counted reference.
class FileRef {
 public:
  FileRef() = default;
  /// Takes over a reference that the caller owns.
  [[nodiscard]] static FileRef adopt(File* file) { return FileRef(file); }
  /// Adds a reference.
  [[nodiscard]] static FileRef share(File& file) { return file.retain(), FileRef(&file); }

  FileRef(const FileRef& other) : x_file(other.x_file) {
    if (x_file != nullptr) x_file->retain();
  }
  FileRef(FileRef&& other) noexcept : x_file(std::exchange(other.x_file, nullptr)) {}
  FileRef& operator=(FileRef other) noexcept {
    std::swap(x_file, other.x_file);
    return *this;
  }
  ~FileRef() {
    if (x_file != nullptr) x_file->drop();
  }

  [[nodiscard]] File* get() const { return x_file; }
  File& operator*() const { return *x_file; }
  File* operator->() const { return x_file; }
  [[nodiscard]] explicit operator bool() const { return x_file != nullptr; }
  /// Gives the reference to the caller.
  [[nodiscard]] File* detach() { return std::exchange(x_file, nullptr); }

 private:
  explicit FileRef(File* file) : x_file(file) {}
  File* x_file = nullptr;
};

/// The descriptors of one process.
class FdTable {
 public:
  /// Errors: BadFd.
  virtual Result<FileRef> get(i32 fd) = 0;
  /// Errors: TooManyFiles, NoMemory. The reference is dropped on failure.
  virtual Result<i32> install(FileRef file) = 0;
  /// close(2). Errors: BadFd.
  virtual Status close(i32 fd) = 0;

 protected:
  ~FdTable() = default;
};

}  // namespace holdfast::luo
