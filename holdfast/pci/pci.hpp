// Pci: finds every function, says who it is, and keeps those running that cross a jump.
//
// The walk follows bridges from the first bus of each ECAM window, in bus, device, function order; bus numbers are
// inherited as firmware or the previous kernel set them, and a bridge whose numbers make no sense loses its subtree.
// Nothing of a function that crossed is written: its command register and BARs stay as they are.
//
// What crosses ("holdfast-pci-v1"): each preserved endpoint and every bridge above it, counted. The next kernel
// compares identities; a function that is another one now is not incoming. Sizes of BARs are believed as far as they
// reach into nothing else. What does not fit is logged.
//
// Threads: one Mutex of none of its own: called by the kernel during bring-up and under the orchestrator's lock after.
// Failure: each method.
#pragma once

#include "holdfast/abi/pci.hpp"
#include "holdfast/iommu/core.hpp"
#include "holdfast/luo/flb.hpp"
#include "holdfast/pci/acpi.hpp"
#include "holdfast/pci/config_space.hpp"
#include "holdfast/pci/function.hpp"

namespace holdfast::pci {

enum class BusMaster : u8 { Off, On };

class Pci {
 public:
  Pci(Memory& memory, kho::Handover& handover, iommu::Core& core, const ConfigSpace& config);
  Pci(const Pci&) = delete;
  Pci& operator=(const Pci&) = delete;

  /// Live boot, before scan(): which functions the previous kernel kept running. No state is not an error; bad state
  /// is logged and treated as none.
  void read_incoming(const kho::IncomingMap& incoming);
  /// Walks all buses and registers every endpoint that a unit covers with the core. Error: NoMemory.
  Status scan();
  /// Frees what scan() made and unregisters the devices. Not while one is owned or preserved.
  void close();

  void for_each_function(kho::Visitor<Function&> visit) const;
  /// Error: NotFound.
  [[nodiscard]] Result<Function*> find(u16 segment, SourceId id) const;

  [[nodiscard]] const ConfigSpace& config() const { return x_config; }
  /// Memory of a BAR. Errors: Invalid (index), NotFound (not there, or I/O space).
  [[nodiscard]] Result<PhysRange> bar(const Function& function, unsigned index) const;
  /// Bus mastering of one function; On also turns it on in every bridge above.
  void set_bus_master(Function& function, BusMaster to);
  [[nodiscard]] BusMaster bus_master(const Function& function) const;
  /// Function-level reset (PCIe 6.0 6.6.2): stops its DMA, puts BARs and command register back. Errors: NotSupported,
  /// Busy (preserved, or still translated by the previous kernel's domain), TimedOut.
  Status reset(Function& function);

  /// The FLB that the handler of device files depends on; preserved before the first function.
  [[nodiscard]] luo::Flb& flb() { return x_flb; }
  /// The endpoint and its bridges cross. Errors: Busy (already), Invalid (bridge, shared group, no FLB), NoSpace (more
  /// functions than at the first preserve).
  Status preserve(Function& function);
  /// No effect when not preserved.
  void unpreserve(Function& function);
  [[nodiscard]] u64 state_hash() const;

 private:
  class PciFlb final : public luo::Flb {
   public:
    explicit PciFlb(Pci& pci) : x_pci(pci) {}
    [[nodiscard]] std::string_view compatible() const override;
    Result<u64> preserve() override;
    void unpreserve() override;
    void finish() override;

   private:
    Pci& x_pci;
  };

  Status scan_bus(u16 segment, u8 bus, Function* upstream, std::array<u64, 4>& reached);
  Status scan_below(Function& bridge, std::array<u64, 4>& reached);
  [[nodiscard]] bool is_multi_function(u16 segment, SourceId first) const;
  Result<Function*> add_function(u16 segment, SourceId id, Function* upstream);
  Status register_endpoint(Function& function);
  void read_bars(Function& function, const abi::pci::Device* crossed);
  [[nodiscard]] bool keeps_running(const Function& function) const;

  // handover.cpp
  Result<u64> open_outgoing();
  void close_outgoing();
  void finish_incoming();
  void write_outgoing();
  [[nodiscard]] const abi::pci::Device* find_incoming(const Function& function) const;
  void compare_incoming();
  void name_missing_records() const;
  [[nodiscard]] bool reaches_something_else(const Function& function, PhysRange range) const;

  Memory& x_memory;
  kho::Handover& x_handover;
  iommu::Core& x_core;
  const ConfigSpace& x_config;
  PciFlb x_flb;
  List<Function, &Function::link> x_functions;
  u64 x_function_count = 0;
  PhysAddr x_outgoing;  // the record block
  u64 x_outgoing_bytes = 0;
  u64 x_capacity = 0;   // entries that the record block has room for
  u64 x_preserved = 0;  // functions with a count
  PhysAddr x_incoming;  // the previous kernel's, 0 when there is none or it is finished
  u64 x_incoming_count = 0;
  bool x_incoming_is_good = false;
};

}  // namespace holdfast::pci
