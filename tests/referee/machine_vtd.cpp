// Intel's unit: legacy and scalable mode, second and first stage.
//
// Register offsets, entry layouts and the protocol are typed here from the manual (VT-d 4.1, chapters 9 and 11), not
// taken from the driver: what the driver would get wrong must not go unseen.
#include "tests/referee/machine_vtd.hpp"

#include "sim/walk/vtd_second_stage.hpp"
#include "sim/walk/x86_first_stage.hpp"

namespace referee {
namespace {

constexpr u64 unit = 0xfed9'0000;
constexpr u64 gcmd = unit + 0x18;
constexpr u64 gsts = unit + 0x1c;
constexpr u64 rtaddr = unit + 0x20;
constexpr u64 ccmd = unit + 0x28;
constexpr u64 fsts = unit + 0x34;
constexpr u64 iotlb = unit + 0xf8;
constexpr u64 fault_lo = unit + 0x220;
constexpr u64 fault_hi = unit + 0x228;
constexpr u32 set_root = u32{1} << 30;
constexpr u32 enable = u32{1} << 31;
constexpr u64 top_bit = u64{1} << 63;
constexpr u64 domain_id = 7;

}  // namespace

VtdMachine::VtdMachine(const qemu::Binary& binary, const char* iommu)
    : Machine(binary, SharedRam(PhysAddr(0)), {"-M", pc_machine, "-device", iommu, "-device", edu_option},
              halting_firmware()) {
  PortConfig config(qtest(), Edu::device);
  find_edu(config, pc_edu_bar);
}

void VtdMachine::invalidate() {
  qtest().write_q(ccmd, top_bit | u64{1} << 61);
  while ((qtest().read_q(ccmd) & top_bit) != 0) continue;
  qtest().write_q(iotlb, top_bit | u64{1} << 60);
  while ((qtest().read_q(iotlb) & top_bit) != 0) continue;
}

std::optional<Record> VtdMachine::take_fault() {
  const u32 status = qtest().read_l(fsts);
  if ((status & 2) == 0) return std::nullopt;
  const u64 lo = qtest().read_q(fault_lo);
  const u64 hi = qtest().read_q(fault_hi);
  qtest().write_q(fault_hi, top_bit);
  qtest().write_l(fsts, 1);  // overflow
  return Record{static_cast<u32>(hi >> 32 & 0xff), lo & ~u64{0xfff},
                (hi >> 62 & 1) != 0 ? Access::Read : Access::Write};
}

void VtdMachine::prepare_scalable() {
  const PhysAddr context = context_table() + 32 * Edu::requester_id;
  ram().store(root_table(), context_table().value | 1);
  ram().store(context, pasid_directory().value | 1);
  ram().store(context + 8, rid_pasid);
  ram().store(pasid_directory() + 8 * (rid_pasid >> 6), pasid_table().value | 1);
  switch_on(scalable);
}

void VtdMachine::set_root_pointer(u64 value) {
  qtest().write_q(rtaddr, value);
  qtest().write_l(gcmd, (qtest().read_l(gsts) & 0x96ff'ffff) | set_root);
  while ((qtest().read_l(gsts) & set_root) == 0) continue;
}

void VtdMachine::switch_on(u64 mode) {
  set_root_pointer(root_table().value | mode);
  invalidate();
  qtest().write_l(gcmd, (qtest().read_l(gsts) & 0x96ff'ffff) | enable);
  while ((qtest().read_l(gsts) & enable) == 0) continue;
}

namespace {

// QEMU numbers second-stage faults as legacy mode does in scalable mode too.
u32 second_stage_code(Fault fault, Access access) {
  switch (fault) {
    case Fault::InputRange: return 0x4;
    case Fault::TableAccess: return 0x7;
    case Fault::Reserved: return 0xc;
    default: return access == Access::Write ? 0x5 : 0x6;
  }
}

class SecondStageMachine : public VtdMachine {
 public:
  using VtdMachine::VtdMachine;

  [[nodiscard]] WalkResult walk(const Root& root, u64 iova, Access access) const override {
    using sim::walk::WalkFault;
    const auto found = sim::walk::lookup(ram(), tables(root), iova);
    WalkResult result;
    result.address = found.address;
    result.permissions = {.read = found.read, .write = found.write, .execute = false};
    switch (found.fault) {
      case WalkFault::None: result.fault = result.permissions.allows(access) ? Fault::None : Fault::Permission; break;
      case WalkFault::BeyondWidth: result.fault = Fault::InputRange; break;
      case WalkFault::TableAccess: result.fault = Fault::TableAccess; break;
      case WalkFault::NotPresent: result.fault = Fault::NotPresent; break;
      case WalkFault::ReservedSet: result.fault = Fault::Reserved; break;
    }
    result.code = result.ok() ? 0 : second_stage_code(result.fault, access);
    return result;
  }

  [[nodiscard]] std::vector<pt::TableConfig> shapes() const override {
    std::vector<pt::TableConfig> all;
    for (const u8 levels : {u8{3}, u8{4}})
      for (const u64 sizes : {u64{0x1000}, u64{0x20'1000}, u64{0x4020'1000}})
        all.push_back({.format = pt::Format::VtdSecondStage,
                       .levels = levels,
                       .iova_bits = static_cast<u8>(12 + 9 * levels),
                       .phys_bits = 46,
                       .page_sizes = sizes});
    return all;
  }

 protected:
  [[nodiscard]] virtual sim::walk::SecondStage tables(const Root& root) const = 0;
};

class LegacyMachine final : public SecondStageMachine {
 public:
  explicit LegacyMachine(const qemu::Binary& binary) : SecondStageMachine(binary, "intel-iommu,aw-bits=48") {
    ram().store(root_table(), context_table().value | 1);
    switch_on(legacy);
  }
  void attach(const Root& root) override {
    const PhysAddr entry = context_table() + 16 * Edu::requester_id;
    ram().store(entry + 8, (root.levels - 2) | domain_id << 8);
    ram().store(entry, root.top.value | 1);
    invalidate();
  }

 private:
  [[nodiscard]] sim::walk::SecondStage tables(const Root& root) const override {
    return {.top_table = root.top, .levels = root.levels, .pages_1g = true, .snoop = sim::walk::SnoopBit::Reserved};
  }
};

class ScalableMachine final : public SecondStageMachine {
 public:
  explicit ScalableMachine(const qemu::Binary& binary)
      : SecondStageMachine(binary, "intel-iommu,aw-bits=48,x-scalable-mode=on") {
    prepare_scalable();
  }
  void attach(const Root& root) override {
    const PhysAddr entry = pasid_entry();
    ram().store(entry + 8, domain_id);
    ram().store(entry, root.top.value | u64{2} << 6 | u64{root.levels - 2} << 2 | 1);
    invalidate();
  }

 private:
  [[nodiscard]] sim::walk::SecondStage tables(const Root& root) const override {
    return {
        .top_table = root.top, .levels = root.levels, .pages_1g = true, .snoop = sim::walk::SnoopBit::AllowedInLeaf};
  }
};

class FirstStageMachine final : public VtdMachine {
 public:
  explicit FirstStageMachine(const qemu::Binary& binary)
      : VtdMachine(binary, "intel-iommu,aw-bits=48,x-scalable-mode=on,x-flts=on") {
    prepare_scalable();
  }
  // QEMU wants the width of a second stage here as well.
  void attach(const Root& root) override {
    const PhysAddr entry = pasid_entry();
    ram().store(entry + 8, domain_id);
    ram().store(entry + 16, root.top.value);
    ram().store(entry, u64{1} << 6 | u64{2} << 2 | 1);
    invalidate();
  }
  [[nodiscard]] WalkResult walk(const Root& root, u64 iova, Access access) const override {
    sim::walk::FirstStage tables;
    tables.top_table = root.top;
    tables.levels = root.levels;
    tables.host_address_bits = 48;
    tables.accessed_dirty = sim::walk::AccessedDirty::Set;
    return sim::walk::walk(sim::walk::words_of(ram()), tables, iova, access);
  }
  [[nodiscard]] std::vector<pt::TableConfig> shapes() const override {
    std::vector<pt::TableConfig> all;
    add_shapes(all, {.format = pt::Format::X86FirstStage, .extent = pt::IovaExtent::SignExtended}, 0x4020'1000);
    return all;
  }
};

}  // namespace

std::unique_ptr<Machine> start_vtd_legacy(const qemu::Binary& binary) {
  return std::make_unique<LegacyMachine>(binary);
}
std::unique_ptr<Machine> start_vtd_first_stage(const qemu::Binary& binary) {
  return std::make_unique<FirstStageMachine>(binary);
}
std::unique_ptr<Machine> start_vtd_scalable(const qemu::Binary& binary) {
  return std::make_unique<ScalableMachine>(binary);
}

}  // namespace referee
