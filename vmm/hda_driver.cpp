#include "vmm/hda_driver.hpp"

namespace vmm {

namespace hda = hw::hda;

namespace {
constexpr u64 patience_ns = 1'000'000'000;
constexpr u16 stereo_48k_16 = hda::Format().with<hda::format::SampleBits>(1).with<hda::format::Chan>(1).raw();
}  // namespace

bool Hda::start(u32& first_output) {
  u16 capabilities = 0;
  if (!x_device.enable() || !reset() || !x_device.read_register(hda::gcap_offset, capabilities)) return false;
  first_output = static_cast<u32>(hda::Gcap(capabilities).get<hda::gcap::Iss>());
  const bool has_both = valid(first_output) && hda::Gcap(capabilities).get<hda::gcap::Oss>() != 0;
  if (!x_device.calls().check(has_both ? 0 : -to_errno(Code::NotSupported), "streams of the audio controller"))
    return false;
  if (!set_converter(playing_node, playback_tag) || !set_converter(capturing_node, capture_tag)) return false;
  const u64 positions = x_addresses.control + positions_offset;
  if (!x_device.write_register(hda::dpubase_offset, static_cast<u32>(positions >> 32))) return false;
  if (!x_device.write_register(hda::dplbase_offset, static_cast<u32>(positions) | hda::dplbase_enable)) return false;
  return start_stream(0, capture_tag, input_list_offset, x_addresses.capture) &&
         start_stream(first_output, playback_tag, output_list_offset, x_addresses.playback);
}

bool Hda::reset() {
  u32 raw = 0;
  const auto in_reset = [&](u64 bit) {
    return [this, &raw, bit] {
      return x_device.read_register(hda::gctl_offset, raw) && hda::Gctl(raw).get<hda::gctl::Crst>() == bit;
    };
  };
  if (!x_device.write_register(hda::gctl_offset, hda::Gctl().raw())) return false;
  if (!x_device.wait(patience_ns, "reset of the audio controller", in_reset(0))) return false;
  if (!x_device.write_register(hda::gctl_offset, hda::Gctl().with<hda::gctl::Crst>(1).raw())) return false;
  if (!x_device.wait(patience_ns, "reset of the audio controller", in_reset(1))) return false;
  return x_device.wait(patience_ns, "wait for the audio codec", [&] {
    u16 codecs = 0;
    return x_device.read_register(hda::statests_offset, codecs) && (codecs & 1) != 0;
  });
}

bool Hda::send_verb(u32 verb) {
  const auto send = hda::Ics().with<hda::ics::Irv>(1).with<hda::ics::Icb>(1);
  if (!x_device.write_register(hda::ico_offset, verb) || !x_device.write_register(hda::ics_offset, send.raw()))
    return false;
  return x_device.wait(patience_ns, "wait for the answer to an audio verb", [&] {
    u16 raw = 0;
    return x_device.read_register(hda::ics_offset, raw) && hda::Ics(raw).get<hda::ics::Icb>() == 0 &&
           hda::Ics(raw).get<hda::ics::Irv>() == 1;
  });
}

bool Hda::set_converter(u32 node, u8 tag) {
  return send_verb(hda::long_verb(0, node, hda::verb_set_format, stereo_48k_16)) &&
         send_verb(hda::short_verb(0, node, hda::verb_set_stream, static_cast<u8>(tag << 4)));
}

bool Hda::start_stream(u32 index, u8 tag, u64 list_offset, u64 buffer_iova) {
  for (u64 i = 0; i < periods; ++i) {
    const hda::BufferDescriptor descriptor{.address = buffer_iova + i * period_bytes, .length = period_bytes};
    if (!x_control.write(list_offset + i * sizeof descriptor, descriptor)) return false;
  }
  const u64 at = hda::stream_offset(index);
  const u64 list = x_addresses.control + list_offset;
  const auto on = hda::StreamCtl().with<hda::stream_ctl::Strm>(tag);
  return x_device.write_register(at + hda::stream_cbl_offset, static_cast<u32>(buffer_bytes)) &&
         x_device.write_register(at + hda::stream_lvi_offset, static_cast<u16>(periods - 1)) &&
         x_device.write_register(at + hda::stream_fmt_offset, stereo_48k_16) &&
         x_device.write_register(at + hda::stream_bdpl_offset, static_cast<u32>(list)) &&
         x_device.write_register(at + hda::stream_bdpu_offset, static_cast<u32>(list >> 32)) &&
         x_device.write_register(at + hda::stream_ctl_offset, on.with<hda::stream_ctl::Run>(1).raw());
}

bool Hda::stop(u32 first_output) {
  for (const u32 index : {u32{0}, first_output})
    if (!x_device.write_register(hda::stream_offset(index) + hda::stream_ctl_offset, hda::StreamCtl().raw()))
      return false;
  return true;
}

bool Hda::read_positions(u32 first_output, Positions& positions) {
  return read_position(0, positions.capture) && read_position(first_output, positions.playback);
}

/// A pread is no single load: a position that the controller writes at that moment may come out half old, half new.
/// What two reads agree about was there.
bool Hda::read_position(u32 stream, u32& position) {
  constexpr u32 most_tries = 100;
  const u64 at = positions_offset + stream * hda::position_stride_bytes;
  u32 before = 0;
  if (!x_control.read(at, before)) return false;
  for (u32 tries = 0; tries < most_tries; ++tries) {
    if (!x_control.read(at, position)) return false;
    if (position == before) return true;
    before = position;
  }
  return x_device.calls().check(-to_errno(Code::TimedOut), "read of a stream's position");
}

}  // namespace vmm
