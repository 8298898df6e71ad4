// Driver of an Intel 82574 (holdfast/hw/e1000e): one receive and one transmit ring of legacy descriptors, polled in
// RAM.
//
// Memory: a file of rings and transmit buffers, a file of receive buffers, laid out as below. Where the rings stand is
// in E1000eRings, plain data that outlives the driver: another one goes on with it.
#pragma once

#include <array>
#include <span>

#include "holdfast/hw/e1000e/registers.hpp"
#include "vmm/device_access.hpp"
#include "vmm/ring.hpp"

namespace vmm {

struct E1000eRings {
  u32 receive_next = 0;   // descriptor that the device fills next
  u32 transmit_next = 0;  // free descriptor
  u32 transmit_done = 0;  // oldest descriptor that the device may still read
  u32 reserved = 0;
};

/// What the device counted since it was started. Reading clears it.
struct E1000eStatistics {
  u32 total_received = 0;  // TPR
  u32 missed = 0;          // MPC
  u32 without_buffer = 0;  // RNBC
};

class E1000e {
 public:
  using Received = Ring<8192>;
  using Sent = Ring<256>;
  static constexpr u32 receive_entries = 8192;
  static constexpr u32 transmit_entries = 256;
  static constexpr u64 buffer_bytes = hw::e1000e::receive_buffer_bytes;
  static constexpr u64 transmit_buffer_bytes = 128;

  // The file of rings.
  static constexpr u64 receive_ring_offset = 0;
  static constexpr u64 transmit_ring_offset = receive_entries * sizeof(hw::e1000e::ReceiveDescriptor);
  static constexpr u64 transmit_buffers_offset =
      transmit_ring_offset + transmit_entries * sizeof(hw::e1000e::TransmitDescriptor);
  static constexpr u64 ring_file_bytes = transmit_buffers_offset + transmit_entries * transmit_buffer_bytes;
  static_assert(transmit_buffers_offset % page_size_bytes == 0 && ring_file_bytes % page_size_bytes == 0);
  // The file of receive buffers.
  static constexpr u64 buffer_file_bytes = receive_entries * buffer_bytes;

  /// Where the device sees that memory.
  struct Addresses {
    u64 rings = 0;
    u64 receive_buffers = 0;
    u64 transmit_buffers = 0;
  };

  E1000e(DeviceFile device, MemoryFile rings, MemoryFile buffers, const Addresses& addresses)
      : x_device(device), x_rings(rings), x_buffers(buffers), x_addresses(addresses) {}

  /// Resets the device, fills the rings and lets it receive everything.
  bool start(E1000eRings& rings);
  /// Receives no more.
  bool stop();
  /// Descriptors that the device has filled and nobody has taken.
  bool count_filled(const E1000eRings& rings, u32& count);
  /// Gives up to @p most received frames to @p take(descriptor, index), and their descriptors back to the device.
  template <class Take>
  bool receive(E1000eRings& rings, u32 most, Take&& take);
  /// The first bytes of receive buffer @p index.
  bool read_buffer(u32 index, std::span<u8> to) {
    return x_buffers.read_bytes(index * buffer_bytes, to.data(), to.size());
  }
  /// Sends a frame of at most transmit_buffer_bytes; @p sent is false when the ring is full.
  bool send(E1000eRings& rings, std::span<const u8> frame, bool& sent);
  /// Takes back what was sent; true answer in @p idle when nothing is under way.
  bool reclaim(E1000eRings& rings, bool& idle);
  bool read_statistics(E1000eStatistics& statistics);

 private:
  static constexpr u32 batch = 64;
  using Batch = std::array<hw::e1000e::ReceiveDescriptor, batch>;

  bool reset();
  bool fill_rings();
  bool set_ring(u64 low_offset, u64 iova, u64 bytes);
  [[nodiscard]] hw::e1000e::ReceiveDescriptor empty(u32 index) const {
    return {.buffer = x_addresses.receive_buffers + index * buffer_bytes};
  }
  bool read_batch(u32 first, u32 count, Batch& to) {
    return x_rings.read_bytes(receive_ring_offset + first * sizeof to[0], to.data(), count * sizeof to[0]);
  }
  /// How many of the first @p count are filled, up to the first that is not.
  static u32 count_done(const Batch& descriptors, u32 count) {
    u32 done = 0;
    while (done < count && (descriptors[done].status & hw::e1000e::receive_done) != 0) ++done;
    return done;
  }
  bool write_fresh(u32 first, u32 count, Batch& scratch);
  bool give_up_to(u32 last) { return x_device.write_register(hw::e1000e::rdt_offset, last); }

  DeviceFile x_device;
  MemoryFile x_rings;
  MemoryFile x_buffers;
  Addresses x_addresses;
};

template <class Take>
bool E1000e::receive(E1000eRings& rings, u32 most, Take&& take) {
  while (most != 0) {
    const u32 wanted = Received::run(rings.receive_next, std::min(batch, most));
    Batch descriptors;
    if (!read_batch(rings.receive_next, wanted, descriptors)) return false;
    const u32 taken = count_done(descriptors, wanted);
    // A pread is no single load: only what is read after DD was seen is whole.
    if (taken != 0 && !read_batch(rings.receive_next, taken, descriptors)) return false;
    for (u32 i = 0; i < taken; ++i)
      if (!take(descriptors[i], rings.receive_next + i)) return false;
    if (taken != 0 &&
        (!write_fresh(rings.receive_next, taken, descriptors) || !give_up_to(rings.receive_next + taken - 1)))
      return false;
    rings.receive_next = Received::advance(rings.receive_next, taken);
    most -= taken;
    if (taken < wanted) return true;
  }
  return true;
}

}  // namespace vmm
