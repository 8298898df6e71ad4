#include "holdfast/vfio/vfio_handler.hpp"

#include "holdfast/abi/checksum.hpp"
#include "holdfast/iommu/undo.hpp"

namespace holdfast::vfio {

using Record = abi::vfio::Device;
using iommu::Undo;

// Outgoing.

Result<u64> VfioHandler::preserve(luo::OutgoingSession& session, luo::File& file, u64) {
  auto& device = *luo::file_cast<VfioDevice>(&file);
  if (device.is_preserved()) return Code::Busy;
  if (!device.is_bound()) return Code::Invalid;
  TRY_ASSIGN(const Record record, preserve_attachment(session, device));
  Undo attachment([&] {
    if (record.is_attached != 0) device.iommufd()->unpreserve_device(device.device_id());
  });
  pci::Function& function = *device.slot().function;
  TRY(x_devices.pci().preserve(function));
  Undo pci([&] { x_devices.pci().unpreserve(function); });
  TRY_ASSIGN(const u64 data, write_record(record));
  pci.keep();
  attachment.keep();
  device.set_preserved();
  return data;
}

Result<Record> VfioHandler::preserve_attachment(const luo::OutgoingSession& session, const VfioDevice& file) {
  const pci::Function& function = *file.slot().function;
  Record record{};
  record.bdf = function.id.value;
  record.segment = function.segment;
  const bool attached = file.iommufd()->is_attached(file.device_id());
  const auto token = session.token_of(*file.iommufd());
  if (!token.ok() && !attached) return record;
  TRY_ASSIGN(record.iommufd_token, token);
  record.has_iommufd = 1;
  if (!attached) return record;
  TRY_ASSIGN(const auto attachment, file.iommufd()->preserve_device(file.device_id(), record.iommufd_token));
  record.is_attached = 1;
  record.hwpt_token = attachment.hwpt_token;
  record.domain_phys = attachment.domain.value;
  return record;
}

void VfioHandler::unpreserve(luo::OutgoingSession&, luo::File& file, u64 data) {
  auto& device = *luo::file_cast<VfioDevice>(&file);
  const bool attached = x_memory.map.at<Record>(PhysAddr(data))->is_attached != 0;
  x_handover.unpreserve_free(PhysAddr(data), sizeof(Record));
  x_devices.pci().unpreserve(*device.slot().function);
  if (attached) device.iommufd()->unpreserve_device(device.device_id());
  device.clear_preserved();
}

Result<u64> VfioHandler::write_record(Record record) {
  TRY_ASSIGN(const PhysAddr page, x_handover.alloc_preserve(sizeof(Record)));
  record.checksum = abi::checksum_of(record);
  *x_memory.map.at<Record>(page) = record;
  return page.value;
}

// Incoming.

Result<Record> VfioHandler::read_record(u64 data) const {
  const auto block = x_memory.frames.find_incoming(PhysAddr(data));
  if (!block || block->start != PhysAddr(data)) return Code::Corrupt;
  const Record record = *x_memory.map.at<Record>(PhysAddr(data));
  if (record.checksum != abi::checksum_of(record)) return Code::Corrupt;
  if (record.has_iommufd > 1 || record.is_attached > record.has_iommufd) return Code::Corrupt;
  if (record.padding != decltype(record.padding){}) return Code::Corrupt;
  return record;
}

Result<luo::FileRef> VfioHandler::retrieve(luo::IncomingSession& session, u64 data) {
  if (data == 0) return Code::NotFound;
  TRY_ASSIGN(const Record record, read_record(data));
  TRY_ASSIGN(Slot * slot, x_devices.find(record.segment, SourceId(record.bdf)));
  const iommu::Device& device = slot->device();
  if (device.state() == iommu::Device::State::Quarantined) return Code::Corrupt;
  if (!slot->incoming || slot->files != 0) return Code::Mismatch;
  const u64 restored = device.domain() == nullptr ? 0 : device.domain()->restored_record().value;
  if (restored != record.domain_phys || (restored != 0) != (record.is_attached != 0)) return Code::Corrupt;
  TRY_ASSIGN(luo::FileRef file, VfioDevice::create(x_devices, *slot));
  if (record.has_iommufd != 0 && x_policy == luo::Policy::Holdfast)
    TRY(bind_retrieved(session, record, *luo::file_cast<VfioDevice>(file.get())));
  return file;
}

Status VfioHandler::bind_retrieved(luo::IncomingSession& session, const Record& record, VfioDevice& file) {
  TRY_ASSIGN(luo::FileRef iommufd, session.file(record.iommufd_token));
  if (luo::file_cast<iommufd::Iommufd>(iommufd.get()) == nullptr) return Code::Corrupt;
  return file.bind_restored(std::move(iommufd), record.iommufd_token);
}

bool VfioHandler::can_finish(luo::IncomingSession&, luo::File* retrieved, u64 data) {
  if (data == 0) return true;
  if (x_policy == luo::Policy::Linux || retrieved == nullptr) return false;
  const auto& device = *luo::file_cast<VfioDevice>(retrieved);
  return device.iommufd() == nullptr || !device.iommufd()->is_on_restored(device.device_id());
}

void VfioHandler::finish(luo::IncomingSession&, luo::File* retrieved, u64 data) {
  if (data == 0) return;
  if (retrieved == nullptr) return drop(data);
  luo::file_cast<VfioDevice>(retrieved)->slot().incoming = false;
  x_handover.restore_free(PhysAddr(data));
}

void VfioHandler::drop(u64 data) {
  if (data == 0) return;
  const auto record = read_record(data);
  if (!record.ok()) {
    x_memory.world.log(LogLevel::Warning, "vfio: a damaged record is left to be reclaimed");
    return;
  }
  x_handover.restore_free(PhysAddr(data));
  const auto slot = x_devices.find(record->segment, SourceId(record->bdf));
  if (!slot.ok() || !(*slot)->incoming) return;
  if (!x_core.drop_device((*slot)->device()).ok()) {
    x_memory.world.log(LogLevel::Error, "vfio: a dropped device could not be blocked: its unit does not answer");
    return;
  }
  if ((*slot)->bound != nullptr) (*slot)->bound->revoke();
  (*slot)->bound = nullptr;
  (*slot)->incoming = false;
  (*slot)->function->is_incoming = false;  // it may be reset now
}

Result<u64> VfioHandler::pass_on(luo::File* retrieved, u64 data) {
  if (data == 0) return u64{0};
  TRY_ASSIGN(const Record record, read_record(data));
  if (const auto* file = luo::file_cast<VfioDevice>(retrieved); file != nullptr) {
    const bool left = record.is_attached != 0 && !file->iommufd()->is_on_restored(file->device_id());
    if (file->is_preserved() || left) return u64{0};
  }
  const auto slot = x_devices.find(record.segment, SourceId(record.bdf));
  const bool usable = slot.ok() && (*slot)->incoming && (*slot)->device().state() != iommu::Device::State::Quarantined;
  if (!usable) return u64{0};  // it is gone or blocked, and has been named
  return pass_on_device(record, **slot);
}

Result<u64> VfioHandler::pass_on_device(Record record, Slot& slot) {
  if (record.is_attached != 0) {
    const iommu::Domain* domain = slot.device().domain();
    if (domain == nullptr || !domain->is_restored()) return u64{0};
    TRY(x_core.preserve_device(slot.device(), record.iommufd_token));
    record.domain_phys = domain->record().value;
  }
  Undo attachment([&] { x_core.unpreserve_device(slot.device()); });
  TRY(x_devices.pci().preserve(*slot.function));
  Undo pci([&] { x_devices.pci().unpreserve(*slot.function); });
  TRY_ASSIGN(const u64 data, write_record(record));
  pci.keep();
  attachment.keep();
  return data;
}

void VfioHandler::cancel_pass_on(luo::File*, u64, u64 passed_on) {
  if (passed_on == 0) return;
  const Record record = *x_memory.map.at<Record>(PhysAddr(passed_on));
  x_handover.unpreserve_free(PhysAddr(passed_on), sizeof(Record));
  const auto slot = x_devices.find(record.segment, SourceId(record.bdf));
  verify_invariant(slot.ok(), "a device that was passed on is gone");
  x_devices.pci().unpreserve(*(*slot)->function);
  x_core.unpreserve_device((*slot)->device());
}

}  // namespace holdfast::vfio
