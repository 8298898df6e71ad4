#include "sim/vtd_unit.hpp"

namespace sim {

using namespace hw::vtd;

namespace {

constexpr u64 iotlb_registers = 0x100;
constexpr u64 fault_registers = 0x200;
constexpr unsigned max_address_mask = 18;
constexpr std::size_t descriptor_log_length = 4096;

template <class Declared>
Declared as(Quad raw) {
  return Declared(typename Declared::Words{raw.lo, raw.hi});
}

u64 merged(u64 old, u64 offset, Width width, u64 value) {
  if (width == Width::Qword) return value;
  const unsigned shift = offset % 8 == 0 ? 0 : 32;
  return (old & ~(u64{0xffffffff} << shift)) | (value & 0xffffffff) << shift;
}

}  // namespace

VtdUnit::VtdUnit(const MachineConfig& config, const GuestRam& ram, RegisterFile registers)
    : x_config(config), x_ram(ram), x_registers(registers) {
  x_registers.fill(0);
  write_capabilities();
  x_registers.store(fectl_offset, EventControl().with<event_control::Im>(1).raw());
  x_registers.store(iectl_offset, EventControl().with<event_control::Im>(1).raw());
}

void VtdUnit::write_capabilities() {
  x_cap = Cap()
              .with<cap::Esrtps>(x_config.srtp_invalidates ? 1 : 0)
              .with<cap::Drd>(1)
              .with<cap::Dwd>(1)
              .with<cap::Mamv>(max_address_mask)
              .with<cap::Nfr>(x_config.fault_records - 1)
              .with<cap::Psi>(1)
              .with<cap::Sllps>(static_cast<u64>(x_config.large_pages))
              .with<cap::Fro>(fault_registers / 16)
              .with<cap::Mgaw>(12 + 9 * x_config.deepest_levels - 1)
              .with<cap::Sagaw>((u64{1} << (x_config.deepest_levels - 2)) | (x_config.three_levels ? 2 : 0))
              .with<cap::Nd>(x_config.domain_count_code);
  if (x_config.scalable_mode && has_stage(Stages::First))
    x_cap = x_cap.with<cap::Fl5lp>(x_config.deepest_levels == 5 ? 1 : 0)
                .with<cap::Fl1gp>(x_config.large_pages == LargePages::OneGiB ? 1 : 0);
  x_ecap = Ecap()
               .with<ecap::C>(x_config.coherent ? 1 : 0)
               .with<ecap::Qi>(1)
               .with<ecap::Pt>(1)
               .with<ecap::Sc>(1)
               .with<ecap::Iro>(iotlb_registers / 16);
  if (x_config.scalable_mode)
    x_ecap = x_ecap.with<ecap::Smts>(1)
                 .with<ecap::Ssts>(has_stage(Stages::Second) ? 1 : 0)
                 .with<ecap::Fsts>(has_stage(Stages::First) ? 1 : 0)
                 .with<ecap::Smpwcs>(x_config.coherent ? 1 : 0)
                 .with<ecap::Rps>(x_config.reports_rid_pasid ? 1 : 0)
                 .with<ecap::Pasid>(1)
                 .with<ecap::Pss>(19);
  x_registers.store(ver_offset, Ver().with<ver::Max>(4).raw());
  x_registers.store(cap_offset, x_cap.raw());
  x_registers.store(ecap_offset, x_ecap.raw());
}

void VtdUnit::register_write(u64 offset, Width width, u64 value) {
  if ((width != Width::Dword && width != Width::Qword) || offset % static_cast<u64>(width) != 0 ||
      offset >= register_page_bytes) {
    ++x_stats.misuses;
    return;
  }
  const u32 dword = static_cast<u32>(value);
  if (width == Width::Dword) {
    switch (offset) {
      case gcmd_offset: return command(Gcmd(dword));
      case fsts_offset: return clear_fault_status(dword);
      case fectl_offset:
      case iectl_offset: return x_registers.store(offset, EventControl(dword).with<event_control::Ip>(0).raw());
      case ics_offset: return x_registers.store(offset, x_registers.load<u32>(offset) & ~(dword & 1));
      case fedata_offset:
      case feaddr_offset:
      case feuaddr_offset:
      case iedata_offset:
      case ieaddr_offset:
      case ieuaddr_offset: return x_registers.store(offset, dword);
      default: break;
    }
  }
  write64(offset, width, value);
}

void VtdUnit::write64(u64 offset, Width width, u64 value) {
  const u64 base = offset & ~u64{7};
  if (base >= record_offset(0) && base < record_offset(x_config.fault_records))
    return clear_fault_record(offset, width, value);
  const u64 next = merged(x_registers.load<u64>(base), offset, width, value);
  switch (base) {
    case rtaddr_offset: return x_registers.store(base, next);
    case ccmd_offset: return context_command(next);
    case iqa_offset:
      if (x_queue_enabled) break;  // 6.5.2: the queue's place cannot change while it is on
      return x_registers.store(base, next & ~u64{0x7f8});
    case iqt_offset:
      x_registers.store(base, next & 0x7fff0);
      if (offset == base) ring_tail();
      return;
    case iotlb_registers + iva_offset_from_iro: return x_registers.store(base, next);
    case iotlb_registers + iotlb_offset_from_iro: return iotlb_command(next);
    default: break;
  }
  ++x_stats.misuses;
}

void VtdUnit::command(Gcmd value) {
  const Gsts status(x_registers.load<u32>(gsts_offset));
  const bool te = value.get<gcmd::Te>() != 0;
  const bool qie = value.get<gcmd::Qie>() != 0;
  const bool srtp = value.get<gcmd::Srtp>() != 0;
  // 11.4.4.1: one command at a time.
  if ((te != x_translating) + (qie != x_queue_enabled) + srtp > 1) ++x_stats.misuses;
  if (srtp) set_root();
  if (qie != x_queue_enabled) set_queue(qie);
  if (te != x_translating) set_translation(te);
  x_registers.store(gsts_offset, status.with<gsts::Tes>(x_translating ? 1 : 0)
                                     .with<gsts::Qies>(x_queue_enabled ? 1 : 0)
                                     .with<gsts::Rtps>(srtp ? 1 : status.get<gsts::Rtps>())
                                     .raw());
}

void VtdUnit::set_translation(bool on) {
  x_translating = on;
  ++(on ? x_stats.translation_enabled : x_stats.translation_disabled);
}

void VtdUnit::set_root() {
  const Rtaddr latched(x_registers.load<u64>(rtaddr_offset));
  x_root = Pfn(latched.get<rtaddr::Rta>()).address();
  x_ttm = static_cast<Ttm>(latched.get<rtaddr::Ttm>());
  ++x_stats.root_pointers_set;
  if (!x_config.srtp_invalidates) return;
  x_caches.invalidate_contexts();
  x_caches.invalidate_pasids();
  x_caches.invalidate_translations();
}

void VtdUnit::set_queue(bool on) {
  x_queue_enabled = on;
  x_head = 0;
  x_registers.store(iqh_offset, u64{0});
  if (on) ring_tail();
}

// 11.4.6: register-based invalidation is for legacy mode, with the queue off.
void VtdUnit::context_command(u64 value) {
  const Ccmd request(value);
  x_registers.store(ccmd_offset, request.with<ccmd::Icc>(0).with<ccmd::Caig>(request.get<ccmd::Cirg>()).raw());
  if (request.get<ccmd::Icc>() == 0) return;
  if (x_queue_enabled || x_ttm != Ttm::Legacy) {
    ++x_stats.misuses;
    return;
  }
  const u16 did = static_cast<u16>(request.get<ccmd::Did>());
  switch (static_cast<ContextGranularity>(request.get<ccmd::Cirg>())) {
    case ContextGranularity::Global: return x_caches.invalidate_contexts();
    case ContextGranularity::Domain: return x_caches.invalidate_contexts_of_domain(did);
    case ContextGranularity::Device:
      return x_caches.invalidate_contexts_of_device(SourceId(static_cast<u16>(request.get<ccmd::Sid>())),
                                                    static_cast<unsigned>(request.get<ccmd::Fm>()), did);
  }
  ++x_stats.misuses;
}

void VtdUnit::iotlb_command(u64 value) {
  const IotlbInvalidate request(value);
  const u64 at = iotlb_registers + iotlb_offset_from_iro;
  x_registers.store(at, request.with<iotlb::Ivt>(0).with<iotlb::Iaig>(request.get<iotlb::Iirg>()).raw());
  if (request.get<iotlb::Ivt>() == 0) return;
  if (x_queue_enabled || x_ttm != Ttm::Legacy) {
    ++x_stats.misuses;
    return;
  }
  const u16 did = static_cast<u16>(request.get<iotlb::Did>());
  const Iva where(x_registers.load<u64>(iotlb_registers + iva_offset_from_iro));
  switch (static_cast<IotlbGranularity>(request.get<iotlb::Iirg>())) {
    case IotlbGranularity::Global: return x_caches.invalidate_translations();
    case IotlbGranularity::Domain: return x_caches.invalidate_translations_of(x_caches.second_stage_tag(did));
    case IotlbGranularity::Page:
      if (where.get<iva::Am>() > max_address_mask) break;
      return x_caches.invalidate_pages(
          x_caches.second_stage_tag(did), where.get<iva::Addr>() << 12, static_cast<unsigned>(where.get<iva::Am>()),
          where.get<iva::Ih>() != 0 ? VtdCaches::Structures::Keep : VtdCaches::Structures::Remove);
  }
  ++x_stats.misuses;
}

void VtdUnit::tick() {
  if (x_lag_left != 0 && --x_lag_left == 0) run_queue();
}

void VtdUnit::hold_queue(QueueHold hold) {
  x_hold = hold;
  if (hold == QueueHold::Released) ring_tail();
}

void VtdUnit::ring_tail() {
  if (!x_queue_enabled) return;
  if (x_config.queue_lag == 0) return run_queue();
  if (x_lag_left == 0) x_lag_left = x_config.queue_lag;
}

void VtdUnit::run_queue() {
  const Iqa place(x_registers.load<u64>(iqa_offset));
  const bool wide = place.get<iqa::Dw>() != 0;
  const u64 ring_bytes = page_size_bytes << place.get<iqa::Qs>();
  const u64 step = wide ? 32 : 16;
  const PhysAddr base = Pfn(place.get<iqa::Iqa>()).address();
  const u64 tail = x_registers.load<u64>(iqt_offset);
  // A stopped queue stays stopped until software clears the error (6.5.2.10).
  const auto stopped = [this] { return Fsts(x_registers.load<u32>(fsts_offset)).get<fsts::Iqe>() != 0; };
  if (!x_queue_enabled || x_hold == QueueHold::Held || stopped() || x_head == tail) return;
  if (wide && !x_config.scalable_mode) return stop_queue(QueueError::InvalidWidth);
  if (tail >= ring_bytes) return stop_queue(QueueError::InvalidTail);
  if (tail % step != 0) return stop_queue(QueueError::UnalignedTail);
  while (x_head != tail) {
    const auto low = x_ram.fetch_quad(base + x_head);
    const auto high = wide ? x_ram.fetch_quad(base + x_head + 16) : Quad{};
    if (!low || !high) return stop_queue(QueueError::DescriptorFetch);
    if (*high != Quad{}) return stop_queue(QueueError::ReservedField);
    if (const QueueError error = execute(*low); error != QueueError::None) return stop_queue(error);
    x_head = (x_head + step) % ring_bytes;
    x_registers.store(iqh_offset, x_head);
  }
}

void VtdUnit::stop_queue(QueueError why) {
  ++x_stats.queue_errors;
  x_registers.store(iqer_offset, Iqer().with<iqer::Iqei>(static_cast<u64>(why)).raw());
  x_registers.store(fsts_offset, Fsts(x_registers.load<u32>(fsts_offset)).with<fsts::Iqe>(1).raw());
  raise_event();
}

void VtdUnit::clear_fault_status(u32 value) {
  const u32 clearable =
      Fsts().with<fsts::Pfo>(1).with<fsts::Iqe>(1).with<fsts::Ice>(1).with<fsts::Ite>(1).with<fsts::Pro>(1).raw();
  const Fsts before(x_registers.load<u32>(fsts_offset));
  x_registers.store(fsts_offset, before.raw() & ~(value & clearable));
  update_fault_status();
  const bool queue_error_cleared = before.get<fsts::Iqe>() != 0 && Fsts(value).get<fsts::Iqe>() != 0;
  if (queue_error_cleared) ring_tail();
}

QueueError VtdUnit::execute(Quad raw) {
  const Descriptor common = as<Descriptor>(raw);
  if (common.get<descriptor::TypeHigh>() != 0) return QueueError::InvalidType;
  QueueError error = QueueError::InvalidType;
  switch (static_cast<DescriptorType>(common.get<descriptor::Type>())) {
    case DescriptorType::ContextCache: error = context_cache(raw); break;
    case DescriptorType::Iotlb: error = iotlb(raw); break;
    case DescriptorType::Wait: error = wait(raw); break;
    case DescriptorType::PasidCache: error = pasid_cache(raw); break;
    case DescriptorType::PasidIotlb: error = pasid_iotlb(raw); break;
    // No device has a device-TLB (ECAP.DT = 0): accepted, logged, and without anything to remove.
    case DescriptorType::DeviceTlb:
      error = as<DeviceTlbDescriptor>(raw).reserved_clear() ? QueueError::None : QueueError::ReservedField;
      break;
    default: break;
  }
  if (error != QueueError::None) return error;
  ++x_stats.descriptors;
  if (x_descriptors.size() == descriptor_log_length) x_descriptors.pop_front();
  x_descriptors.push_back(raw);
  return error;
}

QueueError VtdUnit::context_cache(Quad raw) {
  namespace field = context_cache_descriptor;
  const auto request = as<ContextCacheDescriptor>(raw);
  if (!request.reserved_clear()) return QueueError::ReservedField;
  const u16 did = static_cast<u16>(request.get<field::Did>());
  switch (static_cast<ContextGranularity>(request.get<field::G>())) {
    case ContextGranularity::Global: x_caches.invalidate_contexts(); break;
    case ContextGranularity::Domain: x_caches.invalidate_contexts_of_domain(did); break;
    case ContextGranularity::Device:
      x_caches.invalidate_contexts_of_device(SourceId(static_cast<u16>(request.get<field::Sid>())),
                                             static_cast<unsigned>(request.get<field::Fm>()), did);
      break;
    default: return QueueError::ReservedField;
  }
  return QueueError::None;
}

QueueError VtdUnit::pasid_cache(Quad raw) {
  namespace field = pasid_cache_descriptor;
  const auto request = as<PasidCacheDescriptor>(raw);
  if (!x_config.scalable_mode) return QueueError::InvalidType;
  if (x_ttm != Ttm::Scalable) return QueueError::InvalidTtm;
  if (!request.reserved_clear()) return QueueError::ReservedField;
  const u16 did = static_cast<u16>(request.get<field::Did>());
  switch (static_cast<PasidGranularity>(request.get<field::G>())) {
    case PasidGranularity::Domain: x_caches.invalidate_pasids_of_domain(did); break;
    case PasidGranularity::PasidInDomain:
      x_caches.invalidate_pasid_in_domain(did, static_cast<u32>(request.get<field::Pasid>()));
      break;
    case PasidGranularity::Global: x_caches.invalidate_pasids(); break;
    default: return QueueError::ReservedField;
  }
  return QueueError::None;
}

QueueError VtdUnit::iotlb(Quad raw) {
  namespace field = iotlb_descriptor;
  const auto request = as<IotlbDescriptor>(raw);
  const unsigned mask = static_cast<unsigned>(request.get<field::Am>());
  if (!request.reserved_clear()) return QueueError::ReservedField;
  const u16 did = static_cast<u16>(request.get<field::Did>());
  switch (static_cast<IotlbGranularity>(request.get<field::G>())) {
    case IotlbGranularity::Global: x_caches.invalidate_translations(); break;
    case IotlbGranularity::Domain: x_caches.invalidate_translations_of(x_caches.second_stage_tag(did)); break;
    case IotlbGranularity::Page:
      if (mask > max_address_mask) return QueueError::ReservedField;  // CAP.MAMV
      x_caches.invalidate_pages(
          x_caches.second_stage_tag(did), request.get<field::Addr>() << 12, mask,
          request.get<field::Ih>() != 0 ? VtdCaches::Structures::Keep : VtdCaches::Structures::Remove);
      break;
    default: return QueueError::ReservedField;
  }
  return QueueError::None;
}

QueueError VtdUnit::pasid_iotlb(Quad raw) {
  namespace field = pasid_iotlb_descriptor;
  const auto request = as<PasidIotlbDescriptor>(raw);
  const unsigned mask = static_cast<unsigned>(request.get<field::Am>());
  if (!x_config.scalable_mode) return QueueError::InvalidType;
  if (x_ttm != Ttm::Scalable) return QueueError::InvalidTtm;
  if (!request.reserved_clear()) return QueueError::ReservedField;
  const u16 tag = x_caches.first_stage_tag(static_cast<u16>(request.get<field::Did>()),
                                           static_cast<u32>(request.get<field::Pasid>()));
  switch (static_cast<PasidIotlbGranularity>(request.get<field::G>())) {
    case PasidIotlbGranularity::AllInPasid: x_caches.invalidate_translations_of(tag); break;
    case PasidIotlbGranularity::Page:
      if (mask > max_address_mask) return QueueError::ReservedField;  // CAP.MAMV
      x_caches.invalidate_pages(
          tag, request.get<field::Addr>() << 12, mask,
          request.get<field::Ih>() != 0 ? VtdCaches::Structures::Keep : VtdCaches::Structures::Remove);
      break;
    default: return QueueError::ReservedField;
  }
  return QueueError::None;
}

QueueError VtdUnit::wait(Quad raw) {
  namespace field = wait_descriptor;
  const auto request = as<WaitDescriptor>(raw);
  if (!request.reserved_clear()) return QueueError::ReservedField;
  if (request.get<field::Sw>() != 0) {
    std::byte* status = x_ram.at(PhysAddr(request.get<field::StatusAddr>() << 2), sizeof(u32));
    if (status != nullptr)
      __atomic_store_n(reinterpret_cast<u32*>(status), static_cast<u32>(request.get<field::StatusData>()),
                       __ATOMIC_RELEASE);
  }
  if (request.get<field::If>() != 0) x_registers.store(ics_offset, Ics().with<ics::Iwc>(1).raw());
  return QueueError::None;
}

}  // namespace sim
