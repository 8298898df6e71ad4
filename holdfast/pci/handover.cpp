// Pci: what crosses a jump ("holdfast-pci-v1"). See pci.hpp.
#include "holdfast/abi/checksum.hpp"
#include "holdfast/abi/pci.hpp"
#include "holdfast/base/text_line.hpp"
#include "holdfast/luo/stream.hpp"
#include "holdfast/pci/pci.hpp"

namespace holdfast::pci {
namespace {

namespace record = abi::pci;

constexpr u64 bytes_for(u64 devices) { return sizeof(record::Header) + devices * sizeof(record::Device); }

u64 checksum_over(const std::byte* start, u64 devices) {
  return abi::checksum({start, bytes_for(devices)}, offsetof(record::Header, checksum));
}

}  // namespace

std::string_view Pci::PciFlb::compatible() const { return record::compatible; }
Result<u64> Pci::PciFlb::preserve() { return x_pci.open_outgoing(); }
void Pci::PciFlb::unpreserve() { x_pci.close_outgoing(); }
void Pci::PciFlb::finish() { x_pci.finish_incoming(); }

Result<u64> Pci::open_outgoing() {
  verify_invariant(x_outgoing.value == 0, "the PCI record is open already");
  const u64 bytes = bytes_for(x_function_count);
  TRY_ASSIGN(x_outgoing, x_handover.alloc_preserve(bytes));
  x_outgoing_bytes = bytes;
  x_capacity = x_function_count;
  write_outgoing();
  return x_outgoing.value;
}

void Pci::close_outgoing() {
  verify_invariant(x_preserved == 0, "the PCI record goes while a function is preserved");
  x_handover.unpreserve_free(x_outgoing, x_outgoing_bytes);
  x_outgoing = PhysAddr();
  x_outgoing_bytes = x_capacity = 0;
}

Status Pci::preserve(Function& function) {
  if (x_outgoing.value == 0 || function.is_bridge) return Code::Invalid;
  if (function.preserved != 0) return Code::Busy;
  if (function.iommu_device != nullptr && function.iommu_device->identity().isolation != iommu::Isolation::Singleton)
    return Code::Invalid;
  u64 added = 0;
  for (const Function* at = &function; at != nullptr; at = at->upstream)
    if (at->preserved == 0) ++added;
  if (added > x_capacity - x_preserved) return Code::NoSpace;
  for (Function* at = &function; at != nullptr; at = at->upstream) ++at->preserved;
  x_preserved += added;
  write_outgoing();
  return {};
}

void Pci::unpreserve(Function& function) {
  if (function.is_bridge || function.preserved == 0) return;
  for (Function* at = &function; at != nullptr; at = at->upstream)
    if (--at->preserved == 0) --x_preserved;
  write_outgoing();
}

/// The functions in the order of the walk, so that equal sets give equal bytes.
void Pci::write_outgoing() {
  auto* start = x_memory.map.bytes(x_outgoing);
  auto& header = *reinterpret_cast<record::Header*>(start);
  auto* devices = reinterpret_cast<record::Device*>(start + sizeof(record::Header));
  header.max_nr_devices = x_capacity;
  header.nr_devices = 0;
  for (const Function& function : x_functions) {
    if (function.preserved == 0) continue;
    record::Device& device = devices[header.nr_devices++];
    device = {};
    device.segment = function.segment;
    device.bdf = function.id.value;
    device.ref_count = function.preserved;
    device.vendor = function.vendor;
    device.device = function.device;
    device.class_revision = function.class_revision;
    for (unsigned i = 0; i < hw::pci::bar_count; ++i) device.bar_bytes[i] = function.bars[i].range.size_bytes;
  }
  for (u64 i = header.nr_devices; i < x_capacity; ++i) devices[i] = {};
  header.checksum = checksum_over(start, header.nr_devices);
}

void Pci::read_incoming(const kho::IncomingMap& incoming) {
  const auto data = luo::early_find_flb(x_memory.map, incoming, record::compatible);
  if (!data.ok()) return;
  const PhysAddr address(*data);
  const auto refuse = [&] { x_memory.world.log(LogLevel::Error, "pci: the incoming PCI record is not believed"); };
  const auto block = incoming.find_block(address);
  if (!block || block->start != address) return refuse();
  x_incoming = address;
  const auto* start = x_memory.map.bytes(address);
  const auto header = *reinterpret_cast<const record::Header*>(start);
  const u64 room = (block->size_bytes() - sizeof(record::Header)) / sizeof(record::Device);
  if (header.nr_devices > header.max_nr_devices || header.max_nr_devices > room ||
      header.checksum != checksum_over(start, header.nr_devices))
    return refuse();
  x_incoming_count = header.nr_devices;
  x_incoming_is_good = true;
}

const record::Device* Pci::find_incoming(const Function& function) const {
  if (!x_incoming_is_good) return nullptr;
  const auto* devices =
      reinterpret_cast<const record::Device*>(x_memory.map.bytes(x_incoming) + sizeof(record::Header));
  for (u64 i = 0; i < x_incoming_count; ++i) {
    const record::Device& device = devices[i];
    if (device.segment != function.segment || device.bdf != function.id.value) continue;
    const bool is_same = device.vendor == function.vendor && device.device == function.device &&
                         device.class_revision == function.class_revision;
    return is_same ? &device : nullptr;
  }
  return nullptr;
}

/// After the walk: what crossed and what was found, against each other.
void Pci::compare_incoming() {
  if (x_incoming.value != 0) name_missing_records();
  const auto complain = [&](const Function& function, std::string_view what) {
    TextLine line;
    line.text("pci: ").device(function.segment, function.id).text(what);
    x_memory.world.log(LogLevel::Warning, line.view());
  };
  for (Function& function : x_functions) {
    if (!keeps_running(function) || function.is_bridge) continue;
    if (!function.is_incoming) complain(function, ": it crossed, but its PCI record did not");
    const record::Device* crossed = find_incoming(function);
    for (unsigned i = 0; i < hw::pci::bar_count; ++i) {
      Function::Bar& bar = function.bars[i];
      const bool is_wrong = crossed != nullptr && crossed->bar_bytes[i] != bar.range.size_bytes;
      const bool reaches_too_far = !bar.is_io && reaches_something_else(function, bar.range);
      if (is_wrong || reaches_too_far) complain(function, ": the recorded size of a BAR makes no sense");
      if (reaches_too_far) bar.range = {};
    }
  }
}

void Pci::name_missing_records() const {
  const auto* devices =
      reinterpret_cast<const record::Device*>(x_memory.map.bytes(x_incoming) + sizeof(record::Header));
  for (u64 i = 0; i < x_incoming_count; ++i) {
    bool is_here = false;
    for (const Function& function : x_functions) is_here = is_here || find_incoming(function) == &devices[i];
    if (is_here) continue;
    TextLine line;
    line.text("pci: ").device(static_cast<u16>(devices[i].segment), SourceId(devices[i].bdf));
    line.text(": it crossed and is not here, or another is in its place");
    x_memory.world.log(LogLevel::Warning, line.view());
  }
}

/// True when @p range of a BAR touches memory or has the beginning of another function's registers in it. (They are
/// powers of two and aligned: the one that is too large holds the other.)
bool Pci::reaches_something_else(const Function& function, PhysRange range) const {
  for (const MemoryRange& part : x_memory.map.memory_map())
    if (range.overlaps(part.range)) return true;
  for (const Function& other : x_functions)
    for (const Function::Bar& bar : other.bars)
      if (&other != &function && !bar.is_io && bar.range.size_bytes != 0 && range.contains(bar.range.start, 1))
        return true;
  return false;
}

void Pci::finish_incoming() {
  if (x_incoming.value == 0) return;
  x_handover.restore_free(x_incoming);
  x_incoming = PhysAddr();
  x_incoming_count = 0;
  x_incoming_is_good = false;
  for (Function& function : x_functions) function.is_incoming = false;
}

u64 Pci::state_hash() const {
  u64 hash = 0;
  const auto add = [&](u64 value) { hash = abi::checksum_add(hash, value); };
  for (const Function& function : x_functions) {
    add(u64{function.segment} << 16 | function.id.value);
    add(function.preserved);
    add(function.is_incoming ? 1 : 0);
    add(x_config.read<u16>(function.segment, function.id, hw::pci::command_offset));
  }
  add(x_outgoing.value);
  if (x_outgoing.value != 0) add(abi::checksum({x_memory.map.bytes(x_outgoing), x_outgoing_bytes}, ~u64{0}));
  return hash;
}

}  // namespace holdfast::pci
