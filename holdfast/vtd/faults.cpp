#include "holdfast/vtd/faults.hpp"

#include <span>

#include "holdfast/vtd/unit_line.hpp"

namespace holdfast::vtd {

namespace {

namespace f = hw::vtd::fault_record;
using hw::vtd::FaultReason;
using hw::vtd::FaultRecord;

constexpr u64 high_word_offset = 8;
constexpr u64 top_dword_offset = 12;
constexpr u32 clear_fault = u32{1} << 31;

void log_faults(World& world, PhysAddr base, const FaultRecord& record, u32 count) {
  TextLine line = unit_line(base);
  const auto reason = static_cast<FaultReason>(record.get<f::Fr>());
  line.text("fault: device ").device(SourceId(static_cast<u16>(record.get<f::Sid>())));
  if (record.get<f::Pp>() != 0) line.text(" pasid ").number(record.get<f::Pv>());
  line.text(record.get<f::T1>() != 0 ? " read" : " write")
      .text(" iova 0x")
      .hex(record.get<f::Fi>() << page_lg2)
      .text(" reason 0x")
      .hex(record.get<f::Fr>(), 2)
      .text(" (")
      .text(describe(reason))
      .text(")");
  if (count > 1) line.text(", the first of ").number(count);
  world.log(LogLevel::Warning, line.view());
}

/// Same device, same PASID if any, same reason.
bool is_alike(const FaultRecord& a, const FaultRecord& b) {
  if (a.get<f::Sid>() != b.get<f::Sid>() || a.get<f::Fr>() != b.get<f::Fr>() || a.get<f::Pp>() != b.get<f::Pp>())
    return false;
  return a.get<f::Pp>() == 0 || a.get<f::Pv>() == b.get<f::Pv>();
}

/// Records that are alike, in the order in which each kind was first met. When more kinds come than there is room for,
/// what was gathered is logged and the gathering begins anew.
class FaultGroups {
 public:
  FaultGroups(World& world, PhysAddr base) : x_world(world), x_base(base) {}

  void add(const FaultRecord& record) {
    for (Group& group : std::span(x_groups).first(x_size)) {
      if (!is_alike(group.first, record)) continue;
      ++group.count;
      return;
    }
    if (x_size == x_groups.size()) log();
    x_groups[x_size++] = {record, 1};
  }
  void log() {
    for (const Group& group : std::span(x_groups).first(x_size)) log_faults(x_world, x_base, group.first, group.count);
    x_size = 0;
  }

 private:
  struct Group {
    FaultRecord first;
    u32 count = 0;
  };
  World& x_world;
  PhysAddr x_base;
  std::array<Group, 32> x_groups{};
  u32 x_size = 0;
};

}  // namespace

std::string_view describe(FaultReason reason) {
  switch (reason) {
    case FaultReason::RootNotPresent:
    case FaultReason::ScalableRootNotPresent: return "root entry not present";
    case FaultReason::ContextNotPresent:
    case FaultReason::ScalableContextNotPresent: return "context entry not present";
    case FaultReason::ContextInvalid:
    case FaultReason::ScalableContextInvalid: return "context entry invalid";
    case FaultReason::AddressBeyondWidth:
    case FaultReason::ScalableBeyondWidth: return "address beyond the width";
    case FaultReason::WriteNotPermitted:
    case FaultReason::ScalableWriteNotPermitted: return "not mapped for writing";
    case FaultReason::ReadNotPermitted:
    case FaultReason::ScalableReadNotPermitted: return "not mapped for reading";
    case FaultReason::PagingEntryAccess:
    case FaultReason::FirstStageAccess:
    case FaultReason::SecondStageAccess: return "page-table entry not readable";
    case FaultReason::RootTableAccess:
    case FaultReason::ScalableRootAccess: return "root table not readable";
    case FaultReason::ContextTableAccess:
    case FaultReason::ScalableContextAccess: return "context table not readable";
    case FaultReason::RootReserved:
    case FaultReason::ScalableRootReserved: return "reserved bit in root entry";
    case FaultReason::ContextReserved:
    case FaultReason::ScalableContextReserved: return "reserved bit in context entry";
    case FaultReason::PagingEntryReserved:
    case FaultReason::FirstStageReserved:
    case FaultReason::SecondStageReserved: return "reserved bit in page-table entry";
    case FaultReason::TypeBlocked: return "request type blocked by the context entry";
    case FaultReason::InterruptAddress:
    case FaultReason::ScalableInterruptAddress: return "interrupt address range";
    case FaultReason::RootTableAddressInvalid: return "root table address invalid";
    case FaultReason::RidPasidInvalid: return "RID_PASID beyond the PASID directory";
    case FaultReason::PasidDirectoryAccess: return "PASID directory not readable";
    case FaultReason::PasidDirectoryNotPresent: return "PASID directory entry not present";
    case FaultReason::PasidDirectoryReserved: return "reserved bit in PASID directory entry";
    case FaultReason::PasidTableAccess: return "PASID table not readable";
    case FaultReason::PasidEntryNotPresent: return "PASID entry not present";
    case FaultReason::PasidEntryReserved: return "reserved bit in PASID entry";
    case FaultReason::PasidEntryInvalid: return "PASID entry invalid";
    case FaultReason::FirstStageNotPresent: return "not mapped";
    case FaultReason::FirstStageNotUser: return "mapped for privileged requests only";
    case FaultReason::ScalableNotCanonical: return "address not canonical";
    case FaultReason::FirstStagePointerInvalid:
    case FaultReason::SecondStagePointerInvalid: return "top table pointer invalid";
    default: return "see VT-d table 7-3";
  }
}

u32 drain_faults(World& world, UnitRegisters& registers, hw::vtd::Cap cap) {
  using namespace hw::vtd;
  const u32 records = static_cast<u32>(cap.get<cap::Nfr>()) + 1;
  const u64 first_offset = cap.get<cap::Fro>() * 16;
  const auto status = registers.read<Fsts>(fsts_offset);

  // FRI names the oldest record; the ring is read from there, once around.
  FaultGroups groups(world, registers.base());
  u32 drained = 0;
  u32 index = static_cast<u32>(status.get<fsts::Fri>()) % records;
  for (u32 step = 0; step < records; ++step, index = (index + 1) % records) {
    const PhysAddr at = registers.base() + first_offset + u64{index} * fault_record_bytes;
    const u64 high = reg_read<u64>(world, at + high_word_offset);
    if (!FaultRecord({0, high}).get<f::F>()) continue;
    groups.add(FaultRecord({reg_read<u64>(world, at), high}));
    reg_write<u32>(world, at + top_dword_offset, clear_fault);
    ++drained;
  }
  groups.log();
  if (status.get<fsts::Pfo>() != 0) {
    TextLine line = unit_line(registers.base());
    world.log(LogLevel::Warning, line.text("more faults than records; the rest was not recorded").view());
    registers.write(fsts_offset, Fsts().with<fsts::Pfo>(1));
  }
  return drained;
}

}  // namespace holdfast::vtd
