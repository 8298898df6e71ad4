// Driver of a High Definition Audio controller (holdfast/hw/hda): one endless stream in and one out, 48 kHz stereo, 16
// bits.
//
// Both streams go round in cyclic buffers for ever; the controller writes their positions to RAM. Nothing has to be
// done to keep them going: the driver keeps no state.
#pragma once

#include "holdfast/hw/hda/registers.hpp"
#include "vmm/device_access.hpp"

namespace vmm {

class Hda {
 public:
  static constexpr u64 buffer_bytes = 131072;  // of each stream: 683 ms
  static constexpr u64 period_bytes = 4096;    // one buffer descriptor
  static constexpr u64 periods = buffer_bytes / period_bytes;
  static constexpr u64 bytes_per_second = 48000 * 2 * 2;

  // The file that the controller reads and writes for itself.
  static constexpr u64 input_list_offset = 0;
  static constexpr u64 output_list_offset = 0x400;
  static constexpr u64 positions_offset = 0x800;
  static constexpr u64 control_file_bytes = page_size_bytes;

  struct Addresses {
    u64 control = 0;
    u64 capture = 0;
    u64 playback = 0;
  };
  struct Positions {
    u32 capture = 0;
    u32 playback = 0;
  };

  Hda(DeviceFile device, MemoryFile control, const Addresses& addresses)
      : x_device(device), x_control(control), x_addresses(addresses) {}

  /// Resets the controller, sets the codec up and starts both streams. @p first_output: index of the output stream.
  bool start(u32& first_output);
  bool stop(u32 first_output);
  /// Where the controller is in both buffers, as it wrote to RAM.
  bool read_positions(u32 first_output, Positions& positions);

  static bool valid(u32 first_output) { return first_output >= 1 && first_output <= max_input_streams; }

 private:
  static constexpr u32 max_input_streams = 15;
  // Codec of QEMU's "hda-duplex" and of many others: node 2 plays, node 4 captures.
  static constexpr u32 playing_node = 2;
  static constexpr u32 capturing_node = 4;
  static constexpr u8 playback_tag = 1;
  static constexpr u8 capture_tag = 2;

  bool read_position(u32 stream, u32& position);
  bool reset();
  bool send_verb(u32 verb);
  bool set_converter(u32 node, u8 tag);
  bool start_stream(u32 index, u8 tag, u64 list_offset, u64 buffer_iova);

  DeviceFile x_device;
  MemoryFile x_control;
  Addresses x_addresses;
};

}  // namespace vmm
