// The ioctls of address spaces.
#include "holdfast/iommufd/iommufd.hpp"
#include "holdfast/luo/ioctl.hpp"

namespace holdfast::iommufd {
namespace {

constexpr u32 map_flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE;

pt::Prot prot_of(u32 flags) {
  pt::Prot prot = pt::Prot::None;
  if ((flags & IOMMU_IOAS_MAP_READABLE) != 0) prot = prot | pt::Prot::Read;
  if ((flags & IOMMU_IOAS_MAP_WRITEABLE) != 0) prot = prot | pt::Prot::Write;
  return prot;
}

}  // namespace

Result<u64> Iommufd::ioas_alloc(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(iommu_ioas_alloc command, luo::read_argument<iommu_ioas_alloc>(call, argument));
  if (command.flags != 0) return Code::NotSupported;
  Guard guard(x_mutex);
  TRY_ASSIGN(Ioas * ioas, x_memory.heap.create<Ioas>(x_memory, x_core));
  Status status = x_objects.insert(*ioas);
  if (!status.ok()) {
    x_memory.heap.destroy(ioas);
    return status.code();
  }
  command.out_ioas_id = ioas->id.value;
  status = luo::write_back(call, argument, command);
  if (!status.ok()) {
    free_ioas(*ioas);
    return status.code();
  }
  return u64{0};
}

Result<u64> Iommufd::ioas_map_file(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(iommu_ioas_map_file command, luo::read_argument<iommu_ioas_map_file>(call, argument));
  if ((command.flags & ~map_flags) != 0) return Code::NotSupported;
  if (command.iova == ~u64{0} || command.length == ~u64{0}) return Code::Overflow;
  const pt::Prot prot = prot_of(command.flags);
  if (prot == pt::Prot::None) return Code::Invalid;
  Ioas::MapRequest request{
      .file = {}, .offset = command.start, .length = command.length, .prot = prot, .fixed_iova = {}};
  if ((command.flags & IOMMU_IOAS_MAP_FIXED_IOVA) != 0) request.fixed_iova = command.iova;
  auto file = call.fds.get(command.fd);

  Guard guard(x_mutex);
  auto* ioas = x_objects.find<Ioas>(ObjectId(command.ioas_id));
  if (ioas == nullptr) return Code::NotFound;
  if (!file.ok()) return file.code();
  request.file = std::move(file).value();
  TRY_ASSIGN(command.iova, ioas->map(std::move(request)));
  const Status status = luo::write_back(call, argument, command);
  if (!status.ok()) {
    static_cast<void>(ioas->unmap(command.iova, command.length));
    return status.code();
  }
  return u64{0};
}

Result<u64> Iommufd::ioas_unmap(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(iommu_ioas_unmap command, luo::read_argument<iommu_ioas_unmap>(call, argument));
  Guard guard(x_mutex);
  auto* ioas = x_objects.find<Ioas>(ObjectId(command.ioas_id));
  if (ioas == nullptr) return Code::NotFound;
  const bool everything = command.iova == 0 && command.length == ~u64{0};
  TRY_ASSIGN(command.length, everything ? ioas->unmap_all() : ioas->unmap(command.iova, command.length));
  TRY(luo::write_back(call, argument, command));
  return u64{0};
}

Result<u64> Iommufd::ioas_iova_ranges(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(iommu_ioas_iova_ranges command, luo::read_argument<iommu_ioas_iova_ranges>(call, argument));
  if (command.__reserved != 0) return Code::NotSupported;
  Guard guard(x_mutex);
  const auto* ioas = x_objects.find<Ioas>(ObjectId(command.ioas_id));
  if (ioas == nullptr) return Code::NotFound;
  u32 count = 0;
  for (auto span = ioas->usable_from(0); span; ++count) {
    if (count < command.num_iovas) {
      const iommu_iova_range range{span->first, span->last};
      TRY(call.user.write_value(command.allowed_iovas + count * sizeof range, range));
    }
    span = span->last == ~u64{0} ? std::nullopt : ioas->usable_from(span->last + 1);
  }
  const bool too_many = count > command.num_iovas;
  command.num_iovas = count;
  command.out_iova_alignment = ioas->alignment();
  TRY(luo::write_back(call, argument, command));
  if (too_many) return Code::MessageSize;
  return u64{0};
}

Result<u64> Iommufd::option(luo::CallContext& call, u64 argument) {
  TRY_ASSIGN(iommu_option command, luo::read_argument<iommu_option>(call, argument));
  if (command.__reserved != 0) return Code::NotSupported;
  if (command.op != IOMMU_OPTION_OP_SET && command.op != IOMMU_OPTION_OP_GET) return Code::NotSupported;
  Guard guard(x_mutex);
  if (command.option_id == IOMMU_OPTION_RLIMIT_MODE)
    TRY(rlimit_option(command));
  else if (command.option_id == IOMMU_OPTION_HUGE_PAGES)
    TRY(huge_pages_option(command));
  else
    return Code::NotSupported;
  if (command.op == IOMMU_OPTION_OP_GET) TRY(luo::write_back(call, argument, command));
  return u64{0};
}

Status Iommufd::rlimit_option(iommu_option& command) {
  if (command.object_id != 0) return Code::NotSupported;
  if (command.op == IOMMU_OPTION_OP_GET) {
    command.val64 = x_rlimit_mode;
    return {};
  }
  if (!x_objects.empty()) return Code::Busy;
  if (command.val64 > 1) return Code::Invalid;
  x_rlimit_mode = command.val64;
  return {};
}

Status Iommufd::huge_pages_option(iommu_option& command) {
  auto* ioas = x_objects.find<Ioas>(ObjectId(command.object_id));
  if (ioas == nullptr) return Code::NotFound;
  if (command.op == IOMMU_OPTION_OP_GET) {
    command.val64 = ioas->huge_pages() == HugePages::Allowed ? 1 : 0;
    return {};
  }
  if (command.val64 > 1) return Code::Invalid;
  return ioas->set_huge_pages(command.val64 == 1 ? HugePages::Allowed : HugePages::Forbidden);
}

}  // namespace holdfast::iommufd
