#include "holdfast/vtd/unit_registers.hpp"

namespace holdfast::vtd {

namespace gcmd = hw::vtd::gcmd;
namespace gsts = hw::vtd::gsts;

UnitRegisters::UnitRegisters(World& world, PhysAddr base) : x_world(&world), x_base(base) {
  // GSTS and GCMD put the same bits in the same places.
  constexpr u32 sticky = hw::vtd::gcmd_sticky_mask & ~hw::vtd::Gcmd::reserved_bits();
  x_sticky = hw::vtd::Gcmd(status().raw() & sticky);
}

template <class GstsBit>
Status UnitRegisters::command(hw::vtd::Gcmd command, u64 expected) {
  write(hw::vtd::gcmd_offset, command);
  return wait_until([&] { return status().get<GstsBit>() == expected; });
}

Status UnitRegisters::enable_translation() {
  x_sticky = x_sticky.with<gcmd::Te>(1);
  return command<gsts::Tes>(x_sticky, 1);
}

Status UnitRegisters::enable_queue() {
  x_sticky = x_sticky.with<gcmd::Qie>(1);
  return command<gsts::Qies>(x_sticky, 1);
}

Status UnitRegisters::disable_queue() {
  x_sticky = x_sticky.with<gcmd::Qie>(0);
  return command<gsts::Qies>(x_sticky, 0);
}

Status UnitRegisters::set_root_table(hw::vtd::Rtaddr root) {
  write(hw::vtd::rtaddr_offset, root);
  return command<gsts::Rtps>(x_sticky.with<gcmd::Srtp>(1), 1);
}

Status UnitRegisters::flush_write_buffer() { return command<gsts::Wbfs>(x_sticky.with<gcmd::Wbf>(1), 0); }

Status UnitRegisters::disable_protected_memory() {
  using hw::vtd::Pmen;
  write(hw::vtd::pmen_offset, read<Pmen>(hw::vtd::pmen_offset).with<hw::vtd::pmen::Epm>(0));
  return wait_until([&] { return read<Pmen>(hw::vtd::pmen_offset).get<hw::vtd::pmen::Prs>() == 0; });
}

}  // namespace holdfast::vtd
