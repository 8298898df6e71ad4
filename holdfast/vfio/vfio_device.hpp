// VfioDevice: one open device file (cdev only): bind to an iommufd, attach, detach, regions, reset.
//
// Contract: ioctl numbers, layouts and errnos of Linux (uapi/holdfast/vfio.h). Before bind every other call answers
// Invalid. Regions: configuration space, of which the command register can be written, and BAR 0. Writes to the rest of
// configuration space are dropped: BARs and capabilities are the kernel's.
// A preserved device keeps its attachment: attach, detach and reset answer Busy. A retrieved one is bound and attached
// already: bind with its own iommufd answers its id, as often as it is asked, so that a new user can go on where one
// that died stopped; with another it answers NotPermitted.
// Threads: LockRank::Kernel. Failure: Result; what failed changed nothing.
#pragma once

#include "holdfast/vfio/devices.hpp"

namespace holdfast::vfio {

class VfioDevice final : public luo::File {
 public:
  static constexpr char file_kind = 0;

  /// Error: NoMemory.
  static Result<luo::FileRef> create(Devices& devices, Slot& slot);

  [[nodiscard]] const void* kind() const override { return &file_kind; }
  Result<u64> ioctl(luo::CallContext& call, u32 command, u64 argument) override;
  Result<u64> pread(luo::CallContext& call, u64 to, u64 length, u64 offset) override;
  Result<u64> pwrite(luo::CallContext& call, u64 from, u64 length, u64 offset) override;

  // For the handler.

  [[nodiscard]] Slot& slot() const { return x_slot; }
  [[nodiscard]] bool is_bound() const { return x_slot.bound == this; }
  /// The iommufd it is bound to; null when it is not.
  [[nodiscard]] iommufd::Iommufd* iommufd() const { return luo::file_cast<iommufd::Iommufd>(x_iommufd.get()); }
  [[nodiscard]] ObjectId device_id() const { return x_device_id; }
  [[nodiscard]] bool is_preserved() const { return x_preserved; }
  void set_preserved() { x_preserved = true; }
  void clear_preserved() { x_preserved = false; }
  /// A retrieved device comes back bound. Errors: those of Iommufd::bind.
  Status bind_restored(luo::FileRef iommufd, u64 token);
  /// The administrator took the device away: every call answers NoDevice from now on.
  void revoke() { x_revoked = true; }

 private:
  friend class holdfast::Heap;
  VfioDevice(Devices& devices, Slot& slot) : File(2 /* O_RDWR */), x_devices(devices), x_slot(slot) {}
  ~VfioDevice() = default;
  void release() override;

  Result<u64> bind(luo::CallContext& call, u64 argument);
  Status bind_to(luo::FileRef file);
  Result<u64> attach(luo::CallContext& call, u64 argument);
  Result<u64> detach(luo::CallContext& call, u64 argument);
  Result<u64> get_info(luo::CallContext& call, u64 argument);
  Result<u64> get_region_info(luo::CallContext& call, u64 argument);
  Result<u64> reset();

  // regions.cpp
  struct Region {
    u32 index = 0;
    u64 offset = 0;
    u64 length = 0;
    PhysAddr bar;  // of BAR 0
  };
  [[nodiscard]] u64 region_size(u32 index) const;
  [[nodiscard]] bool has_function_reset() const;
  Result<Region> find_region(u64 length, u64 offset) const;
  [[nodiscard]] u64 read_region(const Region& region, u64 at, Width width) const;
  void write_region(const Region& region, u64 at, Width width, u64 value);
  void write_command(u16 value);

  Devices& x_devices;
  Slot& x_slot;
  luo::FileRef x_iommufd;
  ObjectId x_device_id;
  bool x_retrieved = false;  // it came back bound
  bool x_preserved = false;
  bool x_revoked = false;
};

}  // namespace holdfast::vfio
