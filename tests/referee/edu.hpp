// QEMU's teaching device "edu" as a DMA engine, and how it is found: PCI configuration space through ports or ECAM.
//
// The device has a buffer of 4 KiB and copies up to 4095 bytes between it and memory, at any 64-bit bus address if it
// was made with dma_mask of all ones. What it read can be seen only by making it write that elsewhere. Threads: one.
// Failure: RunError, also when the device does not finish.
#pragma once

#include "tests/referee/qtest.hpp"

namespace referee {

/// Writes and reads of the device's configuration space.
class PciConfig {
 public:
  virtual u32 read(u32 offset) = 0;
  virtual void write(u32 offset, u32 value) = 0;
  virtual ~PciConfig() = default;
};

/// Bus 0 of a PC, through ports 0xcf8 and 0xcfc.
class PortConfig final : public PciConfig {
 public:
  PortConfig(Qtest& qtest, u32 device) : x_qtest(qtest), x_device(device) {}
  u32 read(u32 offset) override {
    x_qtest.out_l(0xcf8, address(offset));
    return x_qtest.in_l(0xcfc);
  }
  void write(u32 offset, u32 value) override {
    x_qtest.out_l(0xcf8, address(offset));
    x_qtest.out_l(0xcfc, value);
  }

 private:
  [[nodiscard]] u32 address(u32 offset) const { return u32{1} << 31 | x_device << 11 | offset; }
  Qtest& x_qtest;
  u32 x_device;
};

/// Bus 0 of a machine with memory-mapped configuration space.
class EcamConfig final : public PciConfig {
 public:
  EcamConfig(Qtest& qtest, u64 ecam, u32 device) : x_qtest(qtest), x_base(ecam + (u64{device} << 15)) {}
  u32 read(u32 offset) override { return x_qtest.read_l(x_base + offset); }
  void write(u32 offset, u32 value) override { x_qtest.write_l(x_base + offset, value); }

 private:
  Qtest& x_qtest;
  u64 x_base;
};

class Edu {
 public:
  static constexpr u32 device = 5;                  // of bus 0
  static constexpr u32 requester_id = device << 3;  // function 0
  static constexpr u32 buffer_bytes = 4096;
  static constexpr u32 longest = 4095;  // a copy of the whole buffer aborts QEMU

  /// Places the registers at @p bar and makes the device a bus master.
  Edu(Qtest& qtest, PciConfig& config, u64 bar);

  /// Memory at @p iova -> buffer.
  void read_memory(u64 iova, u32 offset, u32 length) { run(iova, buffer + offset, length, 1); }
  /// Buffer -> memory at @p iova.
  void write_memory(u64 iova, u32 offset, u32 length) { run(buffer + offset, iova, length, 3); }
  /// Copies made.
  [[nodiscard]] u64 count() const { return x_count; }

 private:
  static constexpr u64 buffer = 0x40000;
  void run(u64 from, u64 to, u32 length, u64 command);
  void wait();

  Qtest& x_qtest;
  u64 x_bar;
  u64 x_count = 0;
};

}  // namespace referee
