// A workload: one device that a guest program keeps busy, and that says whether everything it did was right.
//
// Its memory is two files: one that the driver and the device share to talk (rings, queues, lists), one of data. Both
// are preserved, and so is State, plain data: the workload of the next generation goes on with it. Devices never stop
// in between. Functions that answer bool: false when a call failed, which Calls keeps.
#pragma once

#include <optional>
#include <span>

#include "vmm/console.hpp"
#include "vmm/device_access.hpp"
#include "vmm/file_calls.hpp"
#include "vmm/workload_options.hpp"

namespace vmm {

/// A PCI function by vendor and device, or, when `vendor` is 0, by class code.
struct DeviceMatch {
  u16 vendor = 0;
  u16 device = 0;
  u32 class_code = 0;
};

struct DeviceIdentity {
  u16 vendor = 0;
  u16 device = 0;
  u32 class_code = 0;
};
[[nodiscard]] constexpr bool matches(const DeviceMatch& match, const DeviceIdentity& found) {
  return match.vendor != 0 ? found.vendor == match.vendor && found.device == match.device
                           : found.class_code == match.class_code;
}

enum class WorkloadFile : u32 { Control, Data };
inline constexpr u32 workload_files = 2;

struct PlannedMapping {
  WorkloadFile file = WorkloadFile::Control;
  Access access = Access::ReadWrite;
  u64 offset = 0;
  u64 length = 0;
  u64 iova = 0;
};

struct WorkloadPlan {
  WorkloadKind kind = WorkloadKind::Net;
  DeviceMatch match;
  u64 control_bytes = 0;
  u64 data_bytes = 0;
  std::span<const PlannedMapping> mappings;
};

/// Where each workload's device sees its memory: control low, data far away, so that nothing is reached by accident.
[[nodiscard]] constexpr u64 control_iova(WorkloadKind kind) {
  return 0x4000'0000 + static_cast<u64>(kind) * 0x100'0000;
}
[[nodiscard]] constexpr u64 data_iova(WorkloadKind kind) {
  return 0x7123'4000'0000 + static_cast<u64>(kind) * 0x1'0000'0000;
}
/// And the window of WorkloadOptions::mapped_bytes.
inline constexpr u64 window_iova_of_workloads = u64{0x20} << 32;

/// What a workload was given to work with.
struct Resources {
  DeviceFile device;
  MemoryFile control;
  MemoryFile data;
};

/// What a device did while nobody looked, in the workload's own unit.
struct Landed {
  u64 count = 0;
  std::optional<u64> first;  // entry of its ring or queue, where these are `count` entries in a row
};

class Workload {
 public:
  [[nodiscard]] virtual const WorkloadPlan& plan() const = 0;
  virtual void assign(const Resources& resources, const WorkloadOptions& options) = 0;

  /// First generation, the device is attached: sets it going.
  virtual bool start() = 0;
  /// Later generations, before anything else: what the device did while nobody looked.
  virtual bool count_landed(Landed& landed) = 0;
  /// Looks at what the device did and gives it more to do.
  virtual bool poll() = 0;

  [[nodiscard]] virtual u64 done() const = 0;
  /// done() at the end of the run.
  [[nodiscard]] virtual u64 goal() const = 0;

  /// From here on nothing new is begun; poll() brings what is under way to its end, then quiet() says so.
  virtual void hold() {}
  [[nodiscard]] virtual bool quiet() const { return true; }
  /// Held and quiet, right before the jump: begins what shall be under way during it.
  virtual bool launch() { return true; }
  /// There was no jump: what launch() began is brought to its end like anything else, and new work follows.
  virtual void resume() {}
  /// The device uses another page table from here on.
  virtual void replaced() {}

  /// Held and quiet, at the end.
  virtual bool stop() = 0;
  virtual void describe(Line& line) const = 0;
  /// Nothing was lost, doubled or changed.
  [[nodiscard]] virtual bool sound() const = 0;

  /// What crosses. valid_state() is asked before anything that came across is used.
  [[nodiscard]] virtual std::span<std::byte> state() = 0;
  [[nodiscard]] virtual bool valid_state() const = 0;

 protected:
  ~Workload() = default;
};

}  // namespace vmm
