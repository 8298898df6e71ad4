// Primary fault logging of the modelled unit: VT-d 4.1, sections 7.2 and 11.4.7.
#include "sim/vtd_unit.hpp"

namespace sim {

using namespace hw::vtd;

namespace {

constexpr std::size_t fault_log_length = 1024;
constexpr u64 high_half = 8;

}  // namespace

u64 VtdUnit::record_offset(unsigned index) const { return x_cap.get<cap::Fro>() * 16 + index * fault_record_bytes; }

void VtdUnit::record_fault(const FaultEvent& event, bool suppressed) {
  ++x_stats.faults;
  if (x_faults.size() == fault_log_length) x_faults.pop_front();
  x_faults.push_back(event);
  const Fsts status(x_registers.load<u32>(fsts_offset));
  if (suppressed || status.get<fsts::Pfo>() != 0) {
    ++x_stats.faults_dropped;
    return;
  }
  const FaultRecord record = FaultRecord()
                                 .with<fault_record::F>(1)
                                 .with<fault_record::T1>(event.access == Access::Read ? 1 : 0)
                                 .with<fault_record::Fr>(static_cast<u64>(event.reason))
                                 .with<fault_record::Sid>(event.sid.value)
                                 .with<fault_record::Fi>(event.iova >> 12);
  // 7.2.1 lets hardware collapse faults of one source; the model does so for repeats of a fault that is still pending.
  for (unsigned i = 0; i < x_config.fault_records; ++i)
    if (x_registers.load<u64>(record_offset(i)) == record.words()[0] &&
        x_registers.load<u64>(record_offset(i) + high_half) == record.words()[1])
      return;
  const u64 at = record_offset(x_next_record);
  if ((x_registers.load<u64>(at + high_half) >> 63) != 0) {
    ++x_stats.faults_dropped;
    x_registers.store(fsts_offset, status.with<fsts::Pfo>(1).raw());
    return raise_event();
  }
  x_registers.store(at, record.words()[0]);
  x_registers.store(at + high_half, record.words()[1]);
  if (status.get<fsts::Ppf>() == 0)
    x_registers.store(fsts_offset, status.with<fsts::Ppf>(1).with<fsts::Fri>(x_next_record).raw());
  x_next_record = (x_next_record + 1) % x_config.fault_records;
  raise_event();
}

void VtdUnit::clear_fault_record(u64 offset, Width width, u64 value) {
  const u64 base = offset & ~u64{7};
  if ((base - record_offset(0)) % fault_record_bytes != high_half) return;  // the low half is read-only
  const bool reaches_top = width == Width::Qword || offset != base;
  const u64 top_bit = width == Width::Qword ? value >> 63 : value >> 31 & 1;
  if (!reaches_top || top_bit == 0) return;
  x_registers.store(base, x_registers.load<u64>(base) & ~(u64{1} << 63));
  update_fault_status();
}

void VtdUnit::update_fault_status() {
  bool pending = false;
  for (unsigned i = 0; i < x_config.fault_records; ++i)
    pending = pending || (x_registers.load<u64>(record_offset(i) + high_half) >> 63) != 0;
  const Fsts status(x_registers.load<u32>(fsts_offset));
  x_registers.store(fsts_offset, status.with<fsts::Ppf>(pending ? 1 : 0).raw());
  if (!pending && status.get<fsts::Pfo>() == 0 && status.get<fsts::Iqe>() == 0)
    x_registers.store(fectl_offset, EventControl(x_registers.load<u32>(fectl_offset)).with<event_control::Ip>(0).raw());
}

// With the interrupt masked the event stays pending; unmasked it would be sent, and messages are not modelled.
void VtdUnit::raise_event() {
  const EventControl control(x_registers.load<u32>(fectl_offset));
  if (control.get<event_control::Im>() != 0) x_registers.store(fectl_offset, control.with<event_control::Ip>(1).raw());
}

}  // namespace sim
