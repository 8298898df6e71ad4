#include "vmm/edu_driver.hpp"

namespace vmm {

namespace edu = hw::edu;

bool Edu::start() {
  u32 identification = 0;
  if (!x_device.enable() || !x_device.read_register(edu::identification_offset, identification)) return false;
  const bool is_edu = (identification & edu::identification_mask) == edu::identification_value;
  return x_device.calls().check(is_edu ? 0 : -to_errno(Code::NoDevice), "identification of edu");
}

bool Edu::transfer(Direction direction, u64 iova, u64 bytes) {
  const bool to_ram = direction == Direction::ToRam;
  const auto command = edu::DmaCommand().with<edu::dma_command::Start>(1).with<edu::dma_command::ToRam>(to_ram ? 1 : 0);
  return x_device.write_register(edu::dma_source_offset, to_ram ? edu::buffer_address : iova) &&
         x_device.write_register(edu::dma_destination_offset, to_ram ? iova : edu::buffer_address) &&
         x_device.write_register(edu::dma_count_offset, bytes) &&
         x_device.write_register(edu::dma_command_offset, command.raw());
}

bool Edu::read_busy(bool& busy) {
  u64 raw = 0;
  if (!x_device.read_register(edu::dma_command_offset, raw)) return false;
  busy = edu::DmaCommand(raw & ~edu::DmaCommand::reserved_bits()).get<edu::dma_command::Start>() != 0;
  return true;
}

}  // namespace vmm
