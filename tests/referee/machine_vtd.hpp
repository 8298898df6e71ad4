// Intel's unit as a machine of the referee: registers and structures that the modes share.
//
// Register offsets and the protocol are typed here from the manual (VT-d 4.1, chapter 11), not taken from the driver:
// what the driver would get wrong must not go unseen. Threads and failure: as machine.hpp says.
#pragma once

#include "tests/referee/machine.hpp"

namespace referee {

class VtdMachine : public Machine {
 public:
  static constexpr u64 legacy = 0;
  static constexpr u64 scalable = u64{1} << 10;

  VtdMachine(const qemu::Binary& binary, const char* iommu);

  /// What the root pointer register is to say: a table's address, and legacy or scalable. Caches are left as they are.
  void set_root_pointer(u64 value);
  void invalidate() override;
  std::optional<Record> take_fault() override;
  // Interrupt messages pass by the tables.
  [[nodiscard]] bool is_translated(u64 iova) const override { return iova >> 20 != 0xfee; }

 protected:
  static constexpr u64 rid_pasid = 0x41;  // second entry of the directory, second of its table

  [[nodiscard]] PhysAddr root_table() const { return ram().structures(); }
  [[nodiscard]] PhysAddr context_table() const { return ram().structures() + 0x1000; }
  [[nodiscard]] PhysAddr pasid_directory() const { return ram().structures() + 0x2000; }
  [[nodiscard]] PhysAddr pasid_table() const { return ram().structures() + 0x3000; }
  [[nodiscard]] PhysAddr pasid_entry() const { return pasid_table() + 64 * (rid_pasid & 0x3f); }

  /// Everything down to the PASID table; switches translation on.
  void prepare_scalable();
  /// Root and context tables are ready: translation begins.
  void switch_on(u64 mode);
};

}  // namespace referee
