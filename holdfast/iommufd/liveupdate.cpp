// What of an iommufd crosses a live update: mark, preserve, and taking back.
#include "holdfast/iommufd/iommufd.hpp"
#include "holdfast/luo/ioctl.hpp"
#include "uapi/holdfast/memfd.h"

namespace holdfast::iommufd {
namespace {

constexpr u32 fixed_size_seals = F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK;

/// Devices go on writing through the areas while nobody can change them: each must be memory that crosses as well, and
/// whose extent is fixed.
Status check_areas(const Ioas& ioas, const luo::OutgoingSession& session, SealRule rule) {
  for (const Area& area : ioas.areas()) {
    const u32 seals = rule == SealRule::AtMap ? area.seals : area.seals | area.memory().seals();
    if ((seals & fixed_size_seals) != fixed_size_seals) return Code::Invalid;
    TRY(session.token_of(*area.file));
  }
  return {};
}

}  // namespace

// Marks.

Result<u64> Iommufd::mark_preserve(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(const auto command, luo::read_argument<iommu_hwpt_liveupdate_mark_preserve>(call, argument));
  Guard guard(x_mutex);
  auto* hwpt = x_objects.find<Hwpt>(ObjectId(command.hwpt_id));
  if (hwpt == nullptr) return Code::NotFound;
  if (hwpt->ioas == nullptr) return Code::Invalid;  // what it maps is not known here: only its session passes it on
  if (hwpt->mark == command.hwpt_token) return u64{0};
  if (x_preserved) return Code::Busy;
  bool taken = false;
  x_objects.for_each<Hwpt>([&](const Hwpt& other) { taken = taken || other.mark == command.hwpt_token; });
  if (taken) return Code::AddressInUse;
  hwpt->mark = command.hwpt_token;
  return u64{0};
}

Result<u64> Iommufd::unmark(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(const auto command, luo::read_argument<iommu_hwpt_unmark>(call, argument));
  Guard guard(x_mutex);
  auto* hwpt = x_objects.find<Hwpt>(ObjectId(command.hwpt_id));
  if (hwpt == nullptr || !hwpt->mark) return Code::NotFound;
  if (x_preserved) return Code::Busy;
  hwpt->mark.reset();
  return u64{0};
}

// Outgoing.

bool Iommufd::is_preserved() const {
  Guard guard(x_mutex);
  return x_preserved;
}

Status Iommufd::preserve(const luo::OutgoingSession& session, SealRule rule, Vec<abi::iommufd::Hwpt>& entries) {
  Guard guard(x_mutex);
  if (x_preserved) return Code::Busy;
  Status status;
  x_objects.for_each<Hwpt>([&](Hwpt& hwpt) {
    if (!status.ok() || !hwpt.mark) return;
    status = preserve_hwpt(session, rule, hwpt);
    if (!status.ok()) return;
    status = entries.push_back({*hwpt.mark, hwpt.domain->record().value, hwpt.ioas->leaf_sizes()});
    if (!status.ok()) unpreserve_hwpt(hwpt);
  });
  if (status.ok())
    x_preserved = true;
  else
    x_objects.for_each<Hwpt>([this](Hwpt& hwpt) { unpreserve_hwpt(hwpt); });
  return status;
}

Status Iommufd::preserve_hwpt(const luo::OutgoingSession& session, SealRule rule, Hwpt& hwpt) {
  hwpt.ioas->make_immutable();  // before the check, so that what was checked is what crosses
  Status status = check_areas(*hwpt.ioas, session, rule);
  if (status.ok())
    status = [&]() -> Status {
      TRY(x_core.preserve_domain(*hwpt.domain));
      return {};
    }();
  if (!status.ok()) {
    hwpt.ioas->make_mutable();
    return status;
  }
  hwpt.preserved = true;
  return {};
}

void Iommufd::unpreserve_hwpt(Hwpt& hwpt) {
  if (!hwpt.preserved) return;
  MUST(x_core.unpreserve_domain(*hwpt.domain), "devices are unpreserved before the iommufd that they are bound to");
  hwpt.preserved = false;
  hwpt.ioas->make_mutable();
}

void Iommufd::unpreserve() {
  Guard guard(x_mutex);
  x_objects.for_each<Hwpt>([this](Hwpt& hwpt) { unpreserve_hwpt(hwpt); });
  x_preserved = false;
}

// Incoming.

Result<u64> Iommufd::hwpt_restore(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(auto command, luo::read_argument<iommu_hwpt_restore>(call, argument));
  Guard guard(x_mutex);
  if (!x_is_restored) return Code::NotIoctl;
  for (RestoredHwpt& entry : x_restored) {
    if (entry.token != command.hwpt_token || entry.state != RestoredHwpt::State::Waiting) continue;
    TRY_ASSIGN(Hwpt * hwpt, take_back(entry));
    command.out_hwpt_id = hwpt->id.value;
    const Status status = luo::write_back(call, argument, command);
    if (status.ok()) return u64{0};
    x_objects.for_each<DeviceObject>([&](DeviceObject& device) {
      if (device.hwpt == hwpt) device.hwpt = nullptr;
    });
    entry.state = RestoredHwpt::State::Waiting;
    entry.hwpt = nullptr;
    free_hwpt(*hwpt);
    return status.code();
  }
  return Code::NotFound;
}

Result<Hwpt*> Iommufd::take_back(RestoredHwpt& entry) {
  TRY_ASSIGN(iommu::Domain * domain, x_core.find_restored(entry.domain));
  u32 bound = 0;
  x_objects.for_each<DeviceObject>([&](const DeviceObject& device) { bound += device.device->domain() == domain; });
  if (bound != domain->attachments()) return Code::NoDevice;
  TRY_ASSIGN(Hwpt * hwpt, x_memory.heap.create<Hwpt>(HwptOrigin::Restored, nullptr, *domain));
  const Status status = x_objects.insert(*hwpt);
  if (!status.ok()) {
    x_memory.heap.destroy(hwpt);
    return status.code();
  }
  x_objects.for_each<DeviceObject>([&](DeviceObject& device) {
    if (device.device->domain() != domain) return;
    device.hwpt = hwpt;
    ++hwpt->users;
  });
  entry.state = RestoredHwpt::State::TakenBack;
  entry.hwpt = hwpt;
  return hwpt;
}

bool Iommufd::restored_is_consumed() const {
  Guard guard(x_mutex);
  for (const RestoredHwpt& entry : x_restored) {
    if (entry.state == RestoredHwpt::State::Waiting) return false;
    if (entry.hwpt != nullptr && entry.hwpt->domain != nullptr && entry.hwpt->domain->attachments() != 0) return false;
  }
  return true;
}

void Iommufd::finish_restored() {
  Guard guard(x_mutex);
  for (RestoredHwpt& entry : x_restored) {
    if (entry.hwpt == nullptr || entry.hwpt->domain == nullptr) continue;
    if (!x_core.destroy_domain(*entry.hwpt->domain).ok())
      x_memory.world.log(LogLevel::Error, "iommufd: hardware does not answer, a restored page table stays in memory");
    entry.hwpt->domain = nullptr;
  }
  x_restored.clear();
  x_is_restored = false;
}

void Iommufd::forget_restored() {
  Guard guard(x_mutex);
  x_objects.for_each<DeviceObject>([](DeviceObject& device) {
    if (device.hwpt == nullptr || device.hwpt->ioas != nullptr) return;
    --device.hwpt->users;
    device.hwpt = nullptr;
  });
  for (RestoredHwpt& entry : x_restored)
    if (entry.hwpt != nullptr) entry.hwpt->domain = nullptr;
  x_restored.clear();
  x_is_restored = false;
}

}  // namespace holdfast::iommufd
