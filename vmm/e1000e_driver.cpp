#include "vmm/e1000e_driver.hpp"

namespace vmm {

namespace nic = hw::e1000e;

bool E1000e::start(E1000eRings& rings) {
  rings = {};
  if (!x_device.enable() || !reset() || !fill_rings()) return false;
  if (!set_ring(nic::rdbal_offset, x_addresses.rings + receive_ring_offset, transmit_ring_offset)) return false;
  if (!set_ring(nic::tdbal_offset, x_addresses.rings + transmit_ring_offset,
                transmit_buffers_offset - transmit_ring_offset))
    return false;
  E1000eStatistics before;
  if (!read_statistics(before)) return false;  // they count from here on
  const auto transmit =
      nic::Tctl().with<nic::tctl::En>(1).with<nic::tctl::Psp>(1).with<nic::tctl::Ct>(0x0f).with<nic::tctl::Cold>(0x3f);
  const auto receive = nic::Rctl()
                           .with<nic::rctl::En>(1)
                           .with<nic::rctl::Upe>(1)
                           .with<nic::rctl::Mpe>(1)
                           .with<nic::rctl::Bam>(1)
                           .with<nic::rctl::Secrc>(1);
  return x_device.write_register(nic::tctl_offset, transmit.raw()) && give_up_to(receive_entries - 1) &&
         x_device.write_register(nic::rctl_offset, receive.raw());
}

bool E1000e::reset() {
  constexpr u64 patience_ns = 1'000'000'000;
  u32 raw = 0;
  if (!x_device.write_register(nic::imc_offset, ~u32{0}) || !x_device.read_register(nic::ctrl_offset, raw))
    return false;
  if (!x_device.write_register(nic::ctrl_offset, nic::Ctrl(raw).with<nic::ctrl::Rst>(1).raw())) return false;
  const bool done = x_device.wait(patience_ns, "wait for the reset of the e1000e", [&] {
    return x_device.read_register(nic::ctrl_offset, raw) && nic::Ctrl(raw).get<nic::ctrl::Rst>() == 0;
  });
  if (!done) return false;
  return x_device.write_register(nic::imc_offset, ~u32{0}) &&
         x_device.write_register(nic::ctrl_offset, nic::Ctrl(raw).with<nic::ctrl::Slu>(1).raw());
}

bool E1000e::fill_rings() {
  Batch descriptors;
  for (u32 first = 0; first < receive_entries; first += batch)
    if (!write_fresh(first, batch, descriptors)) return false;
  constexpr nic::TransmitDescriptor nothing{};
  for (u32 index = 0; index < transmit_entries; ++index)
    if (!x_rings.write(transmit_ring_offset + index * sizeof nothing, nothing)) return false;
  return true;
}

/// The four registers of a ring lie at the same distances in both directions; head and tail are 0 after the reset.
bool E1000e::set_ring(u64 low_offset, u64 iova, u64 bytes) {
  static_assert(nic::tdbah_offset - nic::tdbal_offset == nic::rdbah_offset - nic::rdbal_offset &&
                nic::tdlen_offset - nic::tdbal_offset == nic::rdlen_offset - nic::rdbal_offset);
  return x_device.write_register(low_offset, static_cast<u32>(iova)) &&
         x_device.write_register(low_offset + (nic::rdbah_offset - nic::rdbal_offset), static_cast<u32>(iova >> 32)) &&
         x_device.write_register(low_offset + (nic::rdlen_offset - nic::rdbal_offset), static_cast<u32>(bytes));
}

bool E1000e::write_fresh(u32 first, u32 count, Batch& scratch) {
  for (u32 i = 0; i < count; ++i) scratch[i] = empty(first + i);
  return x_rings.write_bytes(receive_ring_offset + first * sizeof scratch[0], scratch.data(),
                             count * sizeof scratch[0]);
}

bool E1000e::stop() { return x_device.write_register(nic::rctl_offset, nic::Rctl().raw()); }

bool E1000e::count_filled(const E1000eRings& rings, u32& count) {
  count = 0;
  while (count < receive_entries) {
    const u32 first = Received::advance(rings.receive_next, count);
    const u32 wanted = Received::run(first, std::min(batch, receive_entries - count));
    Batch descriptors;
    if (!read_batch(first, wanted, descriptors)) return false;
    const u32 done = count_done(descriptors, wanted);
    count += done;
    if (done < wanted) return true;
  }
  return true;
}

bool E1000e::send(E1000eRings& rings, std::span<const u8> frame, bool& sent) {
  bool idle = false;
  sent = false;
  if (!reclaim(rings, idle)) return false;
  if (Sent::full(rings.transmit_next, rings.transmit_done)) return true;
  const u64 in_buffers = rings.transmit_next * transmit_buffer_bytes;
  const u64 length = std::min<u64>(frame.size(), transmit_buffer_bytes);
  if (!x_rings.write_bytes(transmit_buffers_offset + in_buffers, frame.data(), length)) return false;
  const nic::TransmitDescriptor descriptor{
      .buffer = x_addresses.transmit_buffers + in_buffers,
      .length = static_cast<u16>(length),
      .command = nic::transmit_end_of_packet | nic::transmit_insert_fcs | nic::transmit_report_status};
  if (!x_rings.write(transmit_ring_offset + rings.transmit_next * sizeof descriptor, descriptor)) return false;
  rings.transmit_next = Sent::advance(rings.transmit_next);
  sent = true;
  return x_device.write_register(nic::tdt_offset, rings.transmit_next);
}

bool E1000e::reclaim(E1000eRings& rings, bool& idle) {
  while (rings.transmit_done != rings.transmit_next) {
    nic::TransmitDescriptor descriptor;
    if (!x_rings.read(transmit_ring_offset + rings.transmit_done * sizeof descriptor, descriptor)) return false;
    if ((descriptor.status & nic::transmit_done) == 0) break;
    rings.transmit_done = Sent::advance(rings.transmit_done);
  }
  idle = rings.transmit_done == rings.transmit_next;
  return true;
}

bool E1000e::read_statistics(E1000eStatistics& statistics) {
  return x_device.read_register(nic::tpr_offset, statistics.total_received) &&
         x_device.read_register(nic::mpc_offset, statistics.missed) &&
         x_device.read_register(nic::rnbc_offset, statistics.without_buffer);
}

}  // namespace vmm
