#include "tests/untrusted/survivor.hpp"

#include <cstring>

#include "host/local_syscalls.hpp"
#include "uapi/holdfast/holdfast.h"
#include "vmm/bystander.hpp"
#include "vmm/dma_engine_driver.hpp"
#include "vmm/file_calls.hpp"
#include "vmm/guest.hpp"

namespace untrusted {
namespace {

constexpr u64 state_magic = 0x31766d6d76646c68;  // as vmm/guest.cpp writes it

/// Runs @p body(calls) and notes how it went.
template <class Body>
Step attempt(host::ModelSession::Context& context, Body&& body) {
  host::LocalSyscalls system(context.world, context.process);
  vmm::Calls calls(system);
  Step step;
  step.error = 0;
  if (body(calls)) return step;
  vmm::Report report;
  calls.describe(report);
  step.error = report.error;
  std::memcpy(step.call, report.step, sizeof step.call);
  return step;
}

template <class Argument>
void name_session(Argument& argument) {
  argument.size = sizeof argument;
  std::memcpy(argument.name, vmm::session_name, sizeof vmm::session_name);
}

bool retrieve(vmm::Calls& calls, i32 session, u64 token, i32& fd) {
  liveupdate_session_retrieve_fd retrieve{};
  retrieve.size = sizeof retrieve;
  retrieve.token = token;
  if (!vmm::ioctl(calls, session, LIVEUPDATE_SESSION_RETRIEVE_FD, retrieve, "LIVEUPDATE_SESSION_RETRIEVE_FD"))
    return false;
  fd = retrieve.fd;
  return true;
}

bool open_liveupdate(vmm::Calls& calls, i32& fd) {
  fd = static_cast<i32>(calls.system().open("/dev/liveupdate"));
  return calls.check(fd, "open of /dev/liveupdate");
}

}  // namespace

Survivor::Survivor(host::ModelSession::Context& context, const vmm::Options& options)
    : x_context(context), x_options(options) {}

void Survivor::start_bystander() {
  x_recovery.bystander = attempt(x_context, [&](vmm::Calls& calls) { return vmm::start_bystander(calls, x_options); });
}

void Survivor::recover() {
  x_recovery.session = attempt(x_context, [&](vmm::Calls& calls) {
    i32 device = -1;
    if (!open_liveupdate(calls, device)) return false;
    liveupdate_ioctl_retrieve_session session{};
    name_session(session);
    const bool found = vmm::ioctl(calls, device, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, session, "RETRIEVE_SESSION");
    calls.system().close(device);
    x_session = found ? session.fd : -1;
    return found;
  });
  if (x_session < 0) return;
  x_recovery.state = attempt(x_context, [&](vmm::Calls& calls) {
    u64 magic = 0;
    if (!retrieve(calls, x_session, vmm::token::state, x_state)) return false;
    if (!calls.check(calls.system().pread(x_state, &magic, sizeof magic, 0), "pread of the state")) return false;
    return calls.check(magic == state_magic ? 0 : -to_errno(Code::Mismatch), "comparison of the state");
  });
  x_recovery.memory =
      attempt(x_context, [&](vmm::Calls& calls) { return retrieve(calls, x_session, vmm::token::memory, x_memory); });
  x_recovery.iommufd =
      attempt(x_context, [&](vmm::Calls& calls) { return retrieve(calls, x_session, vmm::token::iommufd, x_iommufd); });
  for (u32 device = 0; device < 2; ++device) recover_device(device);
}

/// Retrieved, bound, its old page table restored, a new one built, compared, and swapped in under the running device.
void Survivor::recover_device(u32 device) {
  x_recovery.device[device] = attempt(x_context, [&](vmm::Calls& calls) {
    i32& fd = x_devices[device];
    u32 id = 0, ioas = 0;
    if (!retrieve(calls, x_session, vmm::token::first_device + device, fd)) return false;
    if (!vmm::bind_device(calls, fd, x_iommufd, id) || !vmm::alloc_ioas(calls, x_iommufd, ioas)) return false;
    const u64 transfers = vmm::DmaEngine(calls, fd).transfers();
    if (!calls.check(transfers != 0 ? 0 : -to_errno(Code::Io), "read of the device's registers")) return false;
    for (u64 at = 0; at < x_options.mapped_bytes; at += x_options.file_bytes)
      if (!vmm::map_file(calls, x_iommufd, ioas, x_memory, x_options.file_bytes, vmm::window_iova + at)) return false;
    iommu_hwpt_alloc alloc{};
    alloc.size = sizeof alloc;
    alloc.dev_id = id;
    alloc.pt_id = ioas;
    if (!vmm::ioctl(calls, x_iommufd, IOMMU_HWPT_ALLOC, alloc, "IOMMU_HWPT_ALLOC")) return false;
    iommu_hwpt_restore restore{};
    restore.size = sizeof restore;
    restore.hwpt_token = vmm::token::first_hwpt + device;
    if (!vmm::ioctl(calls, x_iommufd, IOMMU_HWPT_RESTORE, restore, "IOMMU_HWPT_RESTORE")) return false;
    iommu_hwpt_compare compare{};
    compare.size = sizeof compare;
    compare.old_id = restore.out_hwpt_id;
    compare.new_id = alloc.out_hwpt_id;
    if (!vmm::ioctl(calls, x_iommufd, IOMMU_HWPT_COMPARE, compare, "IOMMU_HWPT_COMPARE")) return false;
    const bool equal = (compare.out_flags & static_cast<u32>(IOMMU_HWPT_COMPARE_EQUAL)) != 0;
    if (!calls.check(equal ? 0 : -to_errno(Code::Mismatch), "comparison of old and new page table")) return false;
    if (!vmm::attach_device(calls, fd, alloc.out_hwpt_id)) return false;
    iommu_destroy destroy{};
    destroy.size = sizeof destroy;
    destroy.id = restore.out_hwpt_id;
    return vmm::ioctl(calls, x_iommufd, IOMMU_DESTROY, destroy, "IOMMU_DESTROY");
  });
}

void Survivor::finish_or_drop() {
  if (x_session >= 0) {
    x_recovery.finish = attempt(x_context, [&](vmm::Calls& calls) {
      liveupdate_session_finish finish{};
      finish.size = sizeof finish;
      return vmm::ioctl(calls, x_session, LIVEUPDATE_SESSION_FINISH, finish, "LIVEUPDATE_SESSION_FINISH");
    });
    x_context.process.close(x_session);
    x_session = -1;
  }
  if (x_recovery.finish.ok()) return;
  for (const i32 fd : {x_devices[0], x_devices[1], x_iommufd, x_memory, x_state})
    if (fd >= 0) x_context.process.close(fd);
  x_recovery.drop = attempt(x_context, [&](vmm::Calls& calls) {
    i32 device = -1;
    if (!open_liveupdate(calls, device)) return false;
    liveupdate_ioctl_drop_session drop{};
    name_session(drop);
    const bool dropped =
        vmm::ioctl(calls, device, LIVEUPDATE_IOCTL_DROP_SESSION, drop, "LIVEUPDATE_IOCTL_DROP_SESSION");
    calls.system().close(device);
    return dropped;
  });
}

void Survivor::fill_memory() {
  const i64 fd = x_context.process.memfd_create("filler");
  if (fd < 0) return;
  u64 size = 0;
  for (u64 more = u64{4} << 20; more >= page_size_bytes; more /= 2)
    while (x_context.process.ftruncate(static_cast<i32>(fd), size + more) >= 0) size += more;
}

}  // namespace untrusted
