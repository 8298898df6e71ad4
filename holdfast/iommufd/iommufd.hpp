// Iommufd: an open /dev/iommu: address spaces, hardware page tables and devices of one process.
//
// Contract: ioctl numbers, layouts and errnos of Linux for the calls it serves (uapi/holdfast/iommufd.h; others answer
// NotIoctl), and ours. Device files reach it through bind, attach, detach, unbind and hold a reference meanwhile, so
// that the last reference finds no device left; page tables and address spaces then go in that order. An iommufd that
// the previous kernel preserved comes back with a table of tokens: each names a restored domain, which
// IOMMU_HWPT_RESTORE takes back once as a page table without IOAS: it can be compared, left, and destroyed.
// Threads: one Mutex (LockRank::Iommufd). Failure: Result; what failed changed nothing.
#pragma once

#include "holdfast/abi/iommufd.hpp"
#include "holdfast/base/locks.hpp"
#include "holdfast/iommufd/hwpt.hpp"
#include "holdfast/luo/session.hpp"
#include "uapi/holdfast/iommufd.h"

namespace holdfast::iommufd {

/// One page table that crossed.
struct RestoredHwpt {
  enum class State : u8 { Waiting, TakenBack, Destroyed };
  u64 token = 0;
  PhysAddr domain;  // the previous kernel's record of it
  State state = State::Waiting;
  Hwpt* hwpt = nullptr;  // when TakenBack
};

/// Which seals of a mapped file count.
enum class SealRule : u8 {
  AtMap,      // those when it was mapped (Linux)
  AtMapOrNow  // also those it has now: a mapped file is pinned and cannot have shrunk in between
};

class Iommufd final : public luo::File {
 public:
  static constexpr char file_kind = 0;

  /// open("/dev/iommu"). Errors: NoMemory.
  static Result<luo::FileRef> create(Memory& memory, iommu::Core& core);
  /// The file of a record: @p table is taken over on success. Errors: NoMemory.
  static Result<luo::FileRef> create_restored(Memory& memory, iommu::Core& core, Vec<RestoredHwpt>&& table);

  [[nodiscard]] const void* kind() const override { return &file_kind; }
  Result<u64> ioctl(luo::CallContext& call, u32 command, u64 argument) override;

  // For device files. A device is named by the id that bind() answered.

  /// Claims the device. @p token: under which the previous kernel knew this iommufd, for a device that it preserved.
  /// Errors: Busy (another owner), NotPermitted (it is another iommufd's, by token), Corrupt (quarantined), NoMemory.
  Result<ObjectId> bind(iommu::Device& device, std::optional<u64> token = std::nullopt);
  /// Detaches it, gives it up, and removes the object.
  void unbind(ObjectId device);
  /// To a page table, or to an IOAS, which picks or makes one; attached already: replaces. The page table's id.
  /// Errors: NotFound (no such id), Invalid (neither, or restored), AddressInUse (an area in its reserved range), Busy
  /// (preserved), NoDevice (dropped by the administrator), those of iommu::Core::attach.
  Result<ObjectId> attach(ObjectId device, ObjectId pt);
  /// Fine when not attached. Errors: Busy (preserved), those of iommu::Core::detach.
  Status detach(ObjectId device);
  /// True while its DMA goes somewhere, through whatever page table.
  [[nodiscard]] bool is_attached(ObjectId device) const;
  /// True while its DMA goes through what the previous kernel left.
  [[nodiscard]] bool is_on_restored(ObjectId device) const;

  /// Where a preserved device is attached.
  struct Attachment {
    u64 hwpt_token = 0;
    PhysAddr domain;  // outgoing record
  };
  /// Errors: NotFound (not attached), Invalid (its page table is not preserved), those of Core::preserve_device.
  Result<Attachment> preserve_device(ObjectId device, u64 owner_token);
  void unpreserve_device(ObjectId device);

  // For the handler.

  [[nodiscard]] bool is_preserved() const;
  /// Preserves every marked page table; @p entries gets one element each. Errors: Busy (preserved already), Invalid
  /// (not sealed, no domain), NotFound (a mapped file is not preserved in @p session), those of Core::preserve_domain.
  Status preserve(const luo::OutgoingSession& session, SealRule rule, Vec<abi::iommufd::Hwpt>& entries);
  void unpreserve();
  /// Every page table that crossed was taken back and no device goes through it any more.
  [[nodiscard]] bool restored_is_consumed() const;
  /// Frees what is left of the restored page tables; they become ids without a domain.
  void finish_restored();
  /// The restored domains are gone (dropped): forget them.
  void forget_restored();

  /// Over objects, areas, marks, counts.
  [[nodiscard]] u64 state_hash() const;

 private:
  friend class holdfast::Heap;
  friend class IommufdHandler;
  Iommufd(Memory& memory, iommu::Core& core);
  ~Iommufd() = default;
  void release() override;

  // iommufd.cpp
  Result<u64> destroy(luo::CallContext& call, u64 argument);
  Status destroy_object(Object& object);
  void free_ioas(Ioas& ioas);

  // ioas_commands.cpp
  Result<u64> ioas_alloc(luo::CallContext& call, u64 argument);
  Result<u64> ioas_map_file(luo::CallContext& call, u64 argument);
  Result<u64> ioas_unmap(luo::CallContext& call, u64 argument);
  Result<u64> ioas_iova_ranges(luo::CallContext& call, u64 argument);
  Result<u64> option(luo::CallContext& call, u64 argument);
  Status rlimit_option(iommu_option& command);
  Status huge_pages_option(iommu_option& command);

  // hwpt_commands.cpp
  Result<u64> hwpt_alloc(luo::CallContext& call, u64 argument);
  Status check_hwpt_alloc(const iommu_hwpt_alloc& command) const;
  Result<u64> get_hw_info(luo::CallContext& call, u64 argument);
  Result<u64> hwpt_compare(luo::CallContext& call, u64 argument);
  Result<Hwpt*> make_hwpt(HwptOrigin origin, Ioas& ioas, const DeviceObject& device);
  Status destroy_hwpt(Hwpt& hwpt);
  void free_hwpt(Hwpt& hwpt);

  // attach.cpp
  Status attach_to_hwpt(DeviceObject& device, Hwpt& hwpt);
  Result<Hwpt*> attach_to_ioas(DeviceObject& device, Ioas& ioas);
  void drop_if_unused(Hwpt& hwpt);
  void leave(DeviceObject& device, Hwpt* hwpt, const Ioas* staying_in);

  // liveupdate.cpp
  Result<u64> mark_preserve(luo::CallContext& call, u64 argument);
  Result<u64> unmark(luo::CallContext& call, u64 argument);
  Result<u64> hwpt_restore(luo::CallContext& call, u64 argument);
  Result<Hwpt*> take_back(RestoredHwpt& entry);
  Status preserve_hwpt(const luo::OutgoingSession& session, SealRule rule, Hwpt& hwpt);
  void unpreserve_hwpt(Hwpt& hwpt);

  Memory& x_memory;
  iommu::Core& x_core;
  mutable Mutex x_mutex;
  ObjectTable x_objects;
  u64 x_rlimit_mode = 0;  // how Linux accounts pinned pages: 0 by user, 1 by process; an answer, nothing is accounted
  bool x_preserved = false;
  bool x_is_restored = false;
  Vec<RestoredHwpt> x_restored;
  u64 x_restored_data = 0;   // the handler's
  ListHook x_restored_link;  // the handler's list of files it made
};

}  // namespace holdfast::iommufd
