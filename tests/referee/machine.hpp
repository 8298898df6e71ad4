// A referee machine: QEMU with one IOMMU, edu behind it, and what is needed to compare them with ours.
//
// A machine knows how a root pointer is installed, how caches are emptied, where faults are recorded, and which of our
// walkers reads the same tables with the same settings. One device, one domain at a time.
// Threads: one. Failure: RunError.
#pragma once

#include "holdfast/pt/table.hpp"
#include "tests/referee/edu.hpp"
#include "tests/referee/qemu.hpp"

namespace referee {

using sim::walk::Access;
using sim::walk::Fault;
using sim::walk::WalkResult;

/// What hardware is told about a table.
struct Root {
  PhysAddr top;
  unsigned levels = 4;
  unsigned iova_bits = 48;
  unsigned granule_lg2 = 12;
};

/// What the IOMMU wrote down about a request that it refused.
struct Record {
  u32 code = 0;  // in the architecture's numbers
  u64 page = 0;  // address, page offset cleared
  Access access = Access::Read;

  constexpr bool operator==(const Record&) const = default;
};

[[nodiscard]] std::string to_string(const std::optional<Record>& record);

class Machine {
 public:
  virtual ~Machine() = default;
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  [[nodiscard]] const SharedRam& ram() const { return x_ram; }
  [[nodiscard]] Edu& edu() { return *x_edu; }
  [[nodiscard]] std::string log() const { return x_qemu.log(); }
  [[nodiscard]] pid_t pid() const { return x_qemu.pid(); }
  /// A page outside of all targets.
  [[nodiscard]] PhysAddr landing() const { return x_ram.structures() + 4 * mib; }

  /// The device translates by @p root from now on; nothing of before is cached.
  virtual void attach(const Root& root) = 0;
  /// Empties every cache of translations.
  virtual void invalidate() = 0;
  /// The oldest fault since the last call; the others of them are forgotten.
  virtual std::optional<Record> take_fault() = 0;

  /// What our walker says.
  [[nodiscard]] virtual WalkResult walk(const Root& root, u64 iova, Access access) const = 0;
  /// Which code this machine records for it at that IOVA; nothing: this machine records no such fault.
  [[nodiscard]] virtual std::optional<u32> recorded_code(const WalkResult& result, u64) const { return result.code; }
  /// False for addresses that are not memory to this machine, such as those of interrupts.
  [[nodiscard]] virtual bool is_translated(u64) const { return true; }
  /// False for a machine that ignores the bits of an IOVA above its tables' width, against the manual.
  [[nodiscard]] virtual bool checks_width() const { return true; }
  /// Shapes of tables that this machine walks.
  [[nodiscard]] virtual std::vector<pt::TableConfig> shapes() const = 0;
  /// Where a table entry leads, for those who look for an entry to break.
  [[nodiscard]] virtual PhysAddr next_table(u64 entry) const { return PhysAddr(entry & 0x000f'ffff'ffff'f000); }

 protected:
  Machine(const qemu::Binary& binary, SharedRam ram, const std::vector<std::string>& arguments,
          const std::vector<std::byte>& firmware = {})
      : x_ram(std::move(ram)), x_qemu(binary, x_ram, arguments, firmware) {}
  [[nodiscard]] Qtest& qtest() { return x_qemu.qtest(); }
  void find_edu(PciConfig& config, u64 bar) { x_edu.emplace(qtest(), config, bar); }

 private:
  SharedRam x_ram;
  Qemu x_qemu;
  std::optional<Edu> x_edu;
};

struct MachineKind {
  const char* name;
  Release release;
  Target target;
  std::unique_ptr<Machine> (*start)(const qemu::Binary& binary);

  friend void PrintTo(const MachineKind& kind, std::ostream* to) { *to << kind.name; }
};

[[nodiscard]] const std::vector<MachineKind>& machine_kinds();

std::unique_ptr<Machine> start_vtd_legacy(const qemu::Binary& binary);
std::unique_ptr<Machine> start_vtd_scalable(const qemu::Binary& binary);
std::unique_ptr<Machine> start_vtd_first_stage(const qemu::Binary& binary);
std::unique_ptr<Machine> start_amd_qemu7(const qemu::Binary& binary);
std::unique_ptr<Machine> start_amd_qemu10(const qemu::Binary& binary);
std::unique_ptr<Machine> start_smmu_stage1(const qemu::Binary& binary);
std::unique_ptr<Machine> start_smmu_stage2(const qemu::Binary& binary);
std::unique_ptr<Machine> start_riscv_first_stage(const qemu::Binary& binary);
std::unique_ptr<Machine> start_riscv_second_stage(const qemu::Binary& binary);

/// @p base in two variants: with pages of the smallest size alone, and with all of @p sizes.
void add_shapes(std::vector<pt::TableConfig>& to, pt::TableConfig base, u64 sizes);

/// Firmware of a PC that does nothing.
[[nodiscard]] std::vector<std::byte> halting_firmware();
/// RAM from @p start, with a program of two instructions at @p program, where a processor is to begin.
[[nodiscard]] SharedRam ram_with_program(PhysAddr start, PhysAddr program, u32 first, u32 second);
/// Without the timers that would tick for ever: the halted processor lets virtual time jump from one to the next.
inline constexpr const char* pc_machine = "q35,memory-backend=ram,pit=off,hpet=off";
/// Where a PC's edu gets its registers, and how one asks for them.
inline constexpr u64 pc_edu_bar = 0xfe00'0000;
inline constexpr const char* edu_option = "edu,addr=5,dma_mask=0xffffffffffffffff";

}  // namespace referee
