// Orchestrator: bring-up, handlers and FLBs, names of things. Sessions are in outgoing.cpp and incoming.cpp, the freeze
// in freeze.cpp, the files in device.cpp.
#include "holdfast/luo/orchestrator.hpp"

#include "holdfast/base/text_line.hpp"
#include "holdfast/kho/fdt.hpp"
#include "holdfast/kho/state_hash.hpp"
#include "holdfast/luo/device.hpp"

namespace holdfast::luo {

namespace {

bool is_compatible_name(std::string_view name) {
  return !name.empty() && name.size() < abi::luo::compatible_bytes && name.find('\0') == std::string_view::npos;
}

}  // namespace

Orchestrator::Orchestrator(Memory& memory, kho::Handover& handover, Policy policy)
    : x_memory(memory),
      x_handover(handover),
      x_policy(policy),
      x_mutex(memory.world, LockRank::Orchestrator),
      x_attachments(memory.heap),
      x_session_block(memory, handover, RecordBlock::sessions),
      x_flb_block(memory, handover, RecordBlock::flbs) {}

Status Orchestrator::open(const kho::IncomingMap* incoming) {
  Guard guard(x_mutex);
  Status status = write_outgoing_tree();
  if (status.ok() && incoming != nullptr) status = read_incoming(*incoming);
  if (!status.ok()) free_outgoing_tree();
  return status;
}

void Orchestrator::close() {
  Guard guard(x_mutex);
  verify_invariant(!in_use() && !x_device_open && !x_frozen, "the orchestrator is closed while somebody uses it");
  forget_incoming();
  free_outgoing_tree();
}

Status Orchestrator::write_outgoing_tree() {
  TRY(x_session_block.make_room(1));
  x_session_block.commit();
  TRY(x_flb_block.make_room(1));
  x_flb_block.commit();
  x_flb_block.header<abi::luo::FlbHeader>()->page_count = u64{1} << abi::luo::flb_block_order;
  TRY_ASSIGN(x_tree, x_handover.alloc_preserve(page_size_bytes));

  kho::FdtWriter fdt(std::span(x_memory.map.bytes(x_tree), page_size_bytes));
  fdt.string("compatible", abi::luo::compatible);
  fdt.number(abi::luo::number_property.data(), 0);
  fdt.begin(abi::luo::session_node.data());
  fdt.string("compatible", abi::luo::session_compatible);
  fdt.number(abi::luo::session_header_property.data(), x_session_block.address().value);
  fdt.end();
  fdt.begin(abi::luo::flb_node.data());
  fdt.string("compatible", abi::luo::flb_compatible);
  fdt.number(abi::luo::flb_header_property.data(), x_flb_block.address().value);
  fdt.end();
  TRY(fdt.finish());
  return x_handover.add_subtree(abi::luo::subtree_name, x_tree);
}

void Orchestrator::free_outgoing_tree() {
  if (x_tree != PhysAddr{}) {
    x_handover.remove_subtree(abi::luo::subtree_name);
    x_handover.unpreserve_free(x_tree, page_size_bytes);
  }
  x_tree = {};
  x_session_block.free();
  x_flb_block.free();
}

void Orchestrator::write_tree_number(std::string_view node, std::string_view property, u64 value) {
  std::byte* fdt = x_memory.map.bytes(x_tree);
  const int at = node.empty() ? 0 : kho::find_fdt_node(fdt, node);
  const int error = fdt_setprop_inplace_namelen_partial(fdt, at, property.data(), static_cast<int>(property.size()), 0,
                                                        &value, sizeof value);
  verify_invariant(error == 0, "a property of the LUO FDT is gone");
}

bool Orchestrator::in_use() const {
  if (x_outgoing_count != 0) return true;
  for (const IncomingSession& session : x_incoming)
    if (session.x_held) return true;
  return false;
}

Status Orchestrator::register_handler(FileHandler& handler) {
  Guard guard(x_mutex);
  if (!is_compatible_name(handler.compatible())) return Code::Invalid;
  for (const FileHandler& other : x_handlers)
    if (other.compatible() == handler.compatible()) return Code::Exists;
  if (in_use() || x_frozen) return Code::Busy;
  x_handlers.push_back(handler);
  bind_incoming_files(handler);
  return {};
}

void Orchestrator::bind_incoming_files(FileHandler& handler) {
  for (IncomingSession& session : x_incoming) {
    for (IncomingFile& file : session.x_files) {
      if (file.handler != nullptr || file.state != IncomingFile::State::Waiting) continue;
      if (file.compatible_view() != handler.compatible()) continue;
      file.handler = &handler;
      ++handler.x_incoming_files;
    }
  }
}

Status Orchestrator::unregister_handler(FileHandler& handler) {
  Guard guard(x_mutex);
  if (!handler.x_registered.linked()) return Code::NotFound;
  if (in_use() || x_frozen || handler.x_incoming_files != 0) return Code::Busy;
  for (const Attachment& attachment : x_attachments)
    if (attachment.handler == &handler) return Code::Busy;
  x_handlers.remove(handler);
  return {};
}

Status Orchestrator::register_flb(FileHandler& handler, Flb& flb) {
  Guard guard(x_mutex);
  if (!handler.x_registered.linked() || !is_compatible_name(flb.compatible())) return Code::Invalid;
  u64 registered = 0;
  for (const Flb& other : x_flbs) {
    ++registered;
    if (&other != &flb && other.compatible() == flb.compatible()) return Code::Exists;
  }
  for (const Attachment& attachment : x_attachments)
    if (attachment.handler == &handler && attachment.flb == &flb) return Code::Exists;
  if (in_use() || x_frozen) return Code::Busy;
  const bool is_new = !flb.x_registered.linked();
  if (is_new && registered >= abi::luo::flbs_per_block(abi::luo::flb_block_order)) return Code::NoSpace;
  TRY(x_attachments.push_back({&handler, &flb}));
  if (is_new) {
    x_flbs.push_back(flb);
    flb.x_incoming = x_stream && x_stream->find_flb(flb.compatible()).ok();
  }
  flb.x_incoming_files += handler.x_incoming_files;
  return {};
}

Status Orchestrator::unregister_flb(Flb& flb) {
  Guard guard(x_mutex);
  if (!flb.x_registered.linked()) return Code::NotFound;
  if (in_use() || x_frozen || flb.x_incoming) return Code::Busy;
  for (size_t i = x_attachments.size(); i-- != 0;)
    if (x_attachments[i].flb == &flb) x_attachments.erase(i);
  flb.x_incoming_files = 0;
  x_flbs.remove(flb);
  return {};
}

Result<FileRef> Orchestrator::open_device() {
  Guard guard(x_mutex);
  if (x_device_open) return Code::Busy;
  if (x_policy == Policy::Linux && !is_incoming_flawless()) return Code::Io;
  TRY_ASSIGN(DeviceFile * device, x_memory.heap.create<DeviceFile>(*this));
  x_device_open = true;
  return FileRef::adopt(device);
}

void Orchestrator::device_closed(DeviceFile& device) {
  Guard guard(x_mutex);
  x_device_open = false;
  x_memory.heap.destroy(&device);
}

bool Orchestrator::is_incoming_flawless() const {
  if (x_incoming_state != Code::Ok && x_incoming_state != Code::NoData) return false;
  if (x_lost_sessions != 0) return false;
  for (const IncomingSession& session : x_incoming) {
    if (session.x_damage != Code::Ok) return false;
    for (const IncomingFile& file : session.x_files)
      if (file.handler == nullptr) return false;
  }
  return true;
}

Result<u64> Orchestrator::find_incoming_flb(std::string_view name) const {
  Guard guard(x_mutex);
  if (!x_stream) return x_incoming_state == Code::Ok ? Code::NotFound : x_incoming_state;
  for (const Flb& flb : x_flbs)
    if (flb.compatible() == name && !flb.x_incoming) {
      // Finished, or never there; a record that cannot be read still says so.
      const auto found = x_stream->find_flb(name);
      return found.ok() ? Code::NotFound : found.code();
    }
  return x_stream->find_flb(name);
}

Result<u64> Orchestrator::find_outgoing_flb(std::string_view name) const {
  Guard guard(x_mutex);
  for (const Flb& flb : x_flbs)
    if (flb.compatible() == name && flb.x_outgoing_files != 0) return flb.x_outgoing_data;
  return Code::NotFound;
}

bool Orchestrator::is_frozen() const {
  Guard guard(x_mutex);
  return x_frozen;
}

u64 Orchestrator::state_hash() const {
  Guard guard(x_mutex);
  kho::StateHash hash;
  hash.add(x_device_open).add(x_frozen).add(x_number).add(x_outgoing_count).add(x_outgoing_flb_count);
  for (const OutgoingSession& session : x_outgoing) {
    hash.add(session.name()).add(session.x_file_count).add(session.x_slot).add(session.x_closed);
    hash.add(session.x_block.capacity());
    for (const OutgoingFile& file : session.x_files)
      hash.add(file.handler->compatible()).add(file.token).add(file.data).add(reinterpret_cast<u64>(file.file.get()));
  }
  for (const Flb& flb : x_flbs) {
    hash.add(flb.compatible()).add(flb.x_outgoing_files).add(flb.x_incoming_files).add(flb.x_incoming);
    if (flb.x_outgoing_files != 0) hash.add(flb.x_outgoing_data).add(flb.x_outgoing_slot);
  }
  hash.add(x_incoming_count).add(x_lost_sessions).add(static_cast<u64>(x_incoming_state)).add(x_stream.has_value());
  for (const IncomingSession& session : x_incoming) {
    hash.add(session.name()).add(session.x_held).add(session.x_finished).add(static_cast<u64>(session.x_damage));
    for (const IncomingFile& file : session.x_files)
      hash.add(file.compatible_view()).add(file.token).add(file.data).add(static_cast<u64>(file.state));
  }
  if (x_tree != PhysAddr{}) hash_records(hash);
  return hash.value();
}

void Orchestrator::hash_records(kho::StateHash& hash) const {
  const auto add = [&](const void* bytes, u64 size) {
    hash.add(std::string_view(static_cast<const char*>(bytes), size));
  };
  add(x_memory.map.bytes(x_tree), fdt_totalsize(x_memory.map.bytes(x_tree)));
  add(x_session_block.header<abi::luo::SessionHeader>(), sizeof(abi::luo::SessionHeader));
  add(x_session_block.record<abi::luo::SessionRecord>(0), x_outgoing_count * sizeof(abi::luo::SessionRecord));
  add(x_flb_block.header<abi::luo::FlbHeader>(), page_size_bytes << abi::luo::flb_block_order);
  for (const OutgoingSession& session : x_outgoing)
    if (session.x_file_count != 0)
      add(session.x_block.record<abi::luo::FileRecord>(0), session.x_file_count * sizeof(abi::luo::FileRecord));
}

void Orchestrator::say(LogLevel level, std::string_view what, std::string_view name, Code why) const {
  TextLine line;
  line.text("LUO: ").text(what).text(" '");
  for (const char c : name) {  // a name of user space's, or of another kernel's
    const char shown = c >= ' ' && c <= '~' ? c : '?';
    line.text({&shown, 1});
  }
  line.text("'");
  if (why != Code::Ok) line.text(": ").text(errno_name(why));
  x_memory.world.log(level, line.view());
}

}  // namespace holdfast::luo
