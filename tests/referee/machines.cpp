// The list of machines, and what PCs have in common. See machine.hpp.
#include <sstream>

#include "tests/referee/machine.hpp"

namespace referee {

const std::vector<MachineKind>& machine_kinds() {
  static const std::vector<MachineKind> kinds{
      {"vtd_legacy_qemu7", Release::Qemu7, Target::X86, start_vtd_legacy},
      {"vtd_scalable_qemu7", Release::Qemu7, Target::X86, start_vtd_scalable},
      {"vtd_legacy_qemu10", Release::Qemu10, Target::X86, start_vtd_legacy},
      {"vtd_scalable_qemu10", Release::Qemu10, Target::X86, start_vtd_scalable},
      {"vtd_first_stage_qemu10", Release::Qemu10, Target::X86, start_vtd_first_stage},
      {"amd_qemu7", Release::Qemu7, Target::X86, start_amd_qemu7},
      {"amd_qemu10", Release::Qemu10, Target::X86, start_amd_qemu10},
      {"smmu_stage1_qemu7", Release::Qemu7, Target::Arm, start_smmu_stage1},
      {"smmu_stage2_qemu10", Release::Qemu10, Target::Arm, start_smmu_stage2},
      {"riscv_first_stage_qemu10", Release::Qemu10, Target::Riscv, start_riscv_first_stage},
      {"riscv_second_stage_qemu10", Release::Qemu10, Target::Riscv, start_riscv_second_stage},
  };
  return kinds;
}

void add_shapes(std::vector<pt::TableConfig>& to, pt::TableConfig base, u64 sizes) {
  for (const u64 some : {sizes & (~sizes + 1), sizes}) {
    base.page_sizes = some;
    to.push_back(base);
  }
}

// The reset vector of a PC is 16 bytes below the end of the firmware: cli; hlt; jmp to the hlt.
std::vector<std::byte> halting_firmware() {
  std::vector<std::byte> image(64 << 10);
  const u8 code[] = {0xfa, 0xf4, 0xeb, 0xfd};
  std::memcpy(image.data() + image.size() - 16, code, sizeof code);
  return image;
}

SharedRam ram_with_program(PhysAddr start, PhysAddr program, u32 first, u32 second) {
  SharedRam ram(start);
  ram.store(program, first | u64{second} << 32);
  return ram;
}

std::string to_string(const std::optional<Record>& record) {
  if (!record) return "no fault";
  std::ostringstream text;
  text << std::hex << "fault " << record->code << " on " << (record->access == Access::Read ? "reading " : "writing ")
       << record->page;
  return text.str();
}

}  // namespace referee
