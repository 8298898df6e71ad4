#include "vmm/assignment.hpp"

#include "holdfast/hw/dma_engine/registers.hpp"

namespace vmm {
namespace {

/// Groups of tokens: each workload has 0x10 of each.
constexpr u64 file_tokens = 0x100;
constexpr u64 device_tokens = 0x200;
constexpr u64 hwpt_tokens = 0x300;

/// What stands before a workload's state.
struct StateHeader {
  u64 magic = 0x31646c6b72776668;  // "hfwrkld1"
  u32 kind = 0;
  u32 size_bytes = 0;
  u64 checksum = 0;
};

u64 checksum_of(const StateHeader& header, std::span<const std::byte> state) {
  u64 sum = hw::dma_engine::mix(header.kind, header.size_bytes);
  for (const std::byte byte : state) sum = hw::dma_engine::mix(sum, static_cast<u64>(byte));
  return sum;
}

constexpr const char* file_names[workload_kinds][workload_files] = {
    {"holdfast-net-rings", "holdfast-net-buffers"},
    {"holdfast-nvme-queues", "holdfast-nvme-data"},
    {"holdfast-hda-control", "holdfast-hda-samples"},
    {"holdfast-edu-control", "holdfast-edu-data"},
};

u64 file_bytes(const WorkloadPlan& plan, u32 file) { return file == 0 ? plan.control_bytes : plan.data_bytes; }

}  // namespace

bool read_identity(Calls& calls, i32 device_fd, DeviceIdentity& identity) {
  const DeviceFile device(calls, device_fd);
  u32 vendor_and_device = 0;
  u32 revision_and_class = 0;
  if (!device.read_config(hw::pci::vendor_id_offset, vendor_and_device)) return false;
  if (!device.read_config(hw::pci::revision_id_offset, revision_and_class)) return false;
  identity = {.vendor = static_cast<u16>(vendor_and_device),
              .device = static_cast<u16>(vendor_and_device >> 16),
              .class_code = revision_and_class >> 8};
  return true;
}

u64 Assignment::token(u64 group, u64 index) const {
  return group + static_cast<u64>(x_workload.plan().kind) * 0x10 + index;
}

/// Page 0 of the file of states is the generation's own.
u64 Assignment::state_offset() const { return (static_cast<u64>(x_workload.plan().kind) + 1) * page_size_bytes; }

void Assignment::take_device(i32 device_fd, u32 device_id) {
  x_device_fd = device_fd;
  x_device_id = device_id;
}

void Assignment::assign(const WorkloadOptions& options) {
  const Resources resources{.device = DeviceFile(x_calls, x_device_fd),
                            .control = MemoryFile(x_calls, x_file_fds[static_cast<u32>(WorkloadFile::Control)]),
                            .data = MemoryFile(x_calls, x_file_fds[static_cast<u32>(WorkloadFile::Data)])};
  x_workload.assign(resources, options);
}

bool Assignment::build(i32 iommufd, const WorkloadOptions& options) {
  const WorkloadPlan& plan = x_workload.plan();
  if (!x_calls.check(has_device() ? 0 : -to_errno(Code::NoDevice), "search for the device")) return false;
  for (u32 file = 0; file < workload_files; ++file) {
    const char* name = file_names[static_cast<u32>(plan.kind)][file];
    if (!create_memory(x_calls, name, file_bytes(plan, file), x_file_fds[file])) return false;
  }
  assign(options);
  if (!can_reach(iommufd) || !build_address_space(iommufd, options)) return false;
  return attach_device(x_calls, x_device_fd, x_hwpt_id) && x_workload.start();
}

/// A narrow unit would refuse the page table later, without saying why.
bool Assignment::can_reach(i32 iommufd) {
  u32 bits = 0;
  if (!read_address_bits(x_calls, iommufd, x_device_id, bits)) return false;
  for (const PlannedMapping& planned : x_workload.plan().mappings)
    if (bits < 64 && (planned.iova + planned.length - 1) >> bits != 0)
      return x_calls.check(-to_errno(Code::OutOfRange), "reach of the IOMMU, which needs 48 address bits (aw-bits=48)");
  return true;
}

/// What the workload planned, the window besides, and a page table of all that.
bool Assignment::build_address_space(i32 iommufd, const WorkloadOptions& options) {
  const WorkloadPlan& plan = x_workload.plan();
  if (!alloc_ioas(x_calls, iommufd, x_ioas_id)) return false;
  if (options.mapped_bytes != 0 && !forbid_huge_pages(x_calls, iommufd, x_ioas_id)) return false;
  for (const PlannedMapping& planned : plan.mappings) {
    const Mapping mapping{.fd = x_file_fds[static_cast<u32>(planned.file)],
                          .access = planned.access,
                          .offset = planned.offset,
                          .length = planned.length,
                          .iova = planned.iova};
    if (!map_range(x_calls, iommufd, x_ioas_id, mapping)) return false;
  }
  for (u64 at = 0; at < options.mapped_bytes; at += plan.data_bytes) {
    const Mapping again{.fd = x_file_fds[static_cast<u32>(WorkloadFile::Data)],
                        .access = Access::Read,
                        .offset = 0,
                        .length = plan.data_bytes,
                        .iova = window_iova_of_workloads + at};
    if (!map_range(x_calls, iommufd, x_ioas_id, again)) return false;
  }
  return alloc_hwpt(x_calls, iommufd, x_device_id, x_ioas_id, x_hwpt_id);
}

bool Assignment::mark(i32 iommufd) { return mark_hwpt(x_calls, iommufd, x_hwpt_id, token(hwpt_tokens, 0)); }

bool Assignment::preserve_memory(i32 session) {
  for (u32 file = 0; file < workload_files; ++file)
    if (!preserve_file(x_calls, session, x_file_fds[file], token(file_tokens, file), "preserve of memory"))
      return false;
  return true;
}

bool Assignment::preserve_device(i32 session) {
  return preserve_file(x_calls, session, x_device_fd, token(device_tokens, 0), "preserve of a device");
}

bool Assignment::save_state(i32 states_fd) {
  const MemoryFile states(x_calls, states_fd);
  const std::span<const std::byte> state = x_workload.state();
  StateHeader header;
  header.kind = static_cast<u32>(x_workload.plan().kind);
  header.size_bytes = static_cast<u32>(state.size());
  header.checksum = checksum_of(header, state);
  return states.write(state_offset(), header) &&
         states.write_bytes(state_offset() + sizeof header, state.data(), state.size());
}

bool Assignment::retrieve(i32 session, i32 iommufd, i32 states_fd, const WorkloadOptions& options) {
  for (u32 file = 0; file < workload_files; ++file)
    if (!retrieve_file(x_calls, session, token(file_tokens, file), x_file_fds[file], "retrieve of memory"))
      return false;
  if (!retrieve_file(x_calls, session, token(device_tokens, 0), x_device_fd, "retrieve of a device")) return false;
  if (!bind_device(x_calls, x_device_fd, iommufd, x_device_id)) return false;
  DeviceIdentity identity;
  if (!read_identity(x_calls, x_device_fd, identity)) return false;
  const bool is_same = matches(x_workload.plan().match, identity);
  if (!x_calls.check(is_same ? 0 : -to_errno(Code::Mismatch), "identity of the retrieved device")) return false;

  const MemoryFile states(x_calls, states_fd);
  const std::span<std::byte> state = x_workload.state();
  StateHeader header;
  if (!states.read(state_offset(), header)) return false;
  if (!states.read_bytes(state_offset() + sizeof header, state.data(), state.size())) return false;
  const bool is_ours = header.magic == StateHeader{}.magic && header.kind == static_cast<u32>(x_workload.plan().kind) &&
                       header.size_bytes == state.size() && header.checksum == checksum_of(header, state);
  assign(options);
  const bool is_good = is_ours && x_workload.valid_state();
  return x_calls.check(is_good ? 0 : -to_errno(Code::Corrupt), "check of the workload's state");
}

bool Assignment::rebuild(i32 iommufd, const WorkloadOptions& options) {
  u32 old_id = 0;
  if (!restore_hwpt(x_calls, iommufd, token(hwpt_tokens, 0), old_id)) return false;
  if (!build_address_space(iommufd, options)) return false;
  if (!compare_hwpts(x_calls, iommufd, old_id, x_hwpt_id)) return false;
  if (!attach_device(x_calls, x_device_fd, x_hwpt_id) || !destroy_object(x_calls, iommufd, old_id)) return false;
  x_workload.replaced();
  return true;
}

bool Assignment::replace(i32 iommufd) {
  const u32 old_id = x_hwpt_id;
  if (!alloc_hwpt(x_calls, iommufd, x_device_id, x_ioas_id, x_hwpt_id)) return false;
  if (!attach_device(x_calls, x_device_fd, x_hwpt_id) || !destroy_object(x_calls, iommufd, old_id)) return false;
  x_workload.replaced();
  return true;
}

}  // namespace vmm
