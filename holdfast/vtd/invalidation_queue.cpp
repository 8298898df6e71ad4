#include "holdfast/vtd/invalidation_queue.hpp"

namespace holdfast::vtd {

namespace {

using hw::vtd::DescriptorType;

template <class Enum>
constexpr u64 raw(Enum value) {
  return static_cast<u64>(value);
}

constexpr u64 scrap_offset_bytes = 16;

enum class Fence : u8 { No, Yes };

Descriptor wait_descriptor(PhysAddr status, u32 data, Fence fence) {
  namespace f = hw::vtd::wait_descriptor;
  return descriptor(hw::vtd::WaitDescriptor()
                        .with<f::Type>(raw(DescriptorType::Wait))
                        .with<f::Sw>(1)
                        .with<f::Fn>(fence == Fence::Yes ? 1 : 0)
                        .with<f::StatusData>(data)
                        .with<f::StatusAddr>(status.value >> 2));
}

u64 type_of(const Descriptor& one) { return hw::vtd::Descriptor({one.lo, one.hi}).get<hw::vtd::descriptor::Type>(); }

hw::vtd::IotlbDescriptor iotlb(Draining draining, hw::vtd::IotlbGranularity granularity) {
  namespace f = hw::vtd::iotlb_descriptor;
  return hw::vtd::IotlbDescriptor()
      .with<f::Type>(raw(DescriptorType::Iotlb))
      .with<f::G>(raw(granularity))
      .with<f::Dr>(draining.reads ? 1 : 0)
      .with<f::Dw>(draining.writes ? 1 : 0);
}

hw::vtd::PasidIotlbDescriptor pasid_iotlb(hw::vtd::PasidIotlbGranularity granularity, DomainId did, u32 pasid) {
  namespace f = hw::vtd::pasid_iotlb_descriptor;
  return hw::vtd::PasidIotlbDescriptor()
      .with<f::Type>(raw(DescriptorType::PasidIotlb))
      .with<f::G>(raw(granularity))
      .with<f::Did>(did.value)
      .with<f::Pasid>(pasid);
}

}  // namespace

Result<InvalidationQueue::Storage> InvalidationQueue::allocate(EarlyAllocator& early, Width width) {
  const u64 ring_bytes = page_size_bytes * (width == Width::Bits256 ? 2 : 1);
  Storage storage;
  TRY_ASSIGN(storage.ring, early.allocate(ring_bytes, page_size_bytes));
  TRY_ASSIGN(storage.status, early.allocate(64, 64));
  return storage;
}

InvalidationQueue::InvalidationQueue(World& world, const DirectMap& map, UnitRegisters& registers, Storage storage,
                                     Width width)
    : x_world(&world),
      x_registers(&registers),
      x_storage(storage),
      x_width(width),
      x_ring(reinterpret_cast<Quad*>(map.bytes(storage.ring))),
      x_status(reinterpret_cast<u32*>(map.bytes(storage.status))),
      x_lock(world, LockRank::UnitQueue) {}

Status InvalidationQueue::start() {
  Guard guard(x_lock);
  using namespace hw::vtd;
  if (x_registers->status().get<gsts::Qies>() != 0) {
    // A queue that stopped at an error never empties; disabling it is what clears that.
    TRY(x_registers->wait_until(
        [&] { return is_idle() || x_registers->read<Fsts>(fsts_offset).get<fsts::Iqe>() != 0; }));
    TRY(x_registers->disable_queue());
  }
  x_registers->write(fsts_offset, Fsts().with<fsts::Iqe>(1).with<fsts::Ice>(1).with<fsts::Ite>(1));
  x_tail = 0;
  x_registers->write(iqt_offset, Iqt());
  const bool wide = x_width == Width::Bits256;
  x_registers->write(
      iqa_offset,
      Iqa().with<iqa::Iqa>(Pfn(x_storage.ring).value).with<iqa::Dw>(wide ? 1 : 0).with<iqa::Qs>(wide ? 1 : 0));
  return x_registers->enable_queue();
}

Status InvalidationQueue::run(std::span<const Descriptor> batch) {
  verify_invariant(batch.size() <= max_batch, "an invalidation batch is larger than its limit");
  Guard guard(x_lock);
  // Room for the batch, its fences and its wait. Only what earlier waits gave up on can be in the way.
  if (free_slots() < 2 * batch.size() + 1) return Code::TimedOut;
  if (++x_sequence == 0) ++x_sequence;
  for (u64 i = 0; i < batch.size(); ++i) {
    if (i != 0 && type_of(batch[i]) != type_of(batch[i - 1])) append(wait_descriptor(scrap(), x_sequence, Fence::Yes));
    append(batch[i]);
  }
  append(wait_descriptor(x_storage.status, x_sequence, Fence::No));
  ring_doorbell();
  return wait_for(x_sequence);
}

bool InvalidationQueue::is_idle() const {
  using namespace hw::vtd;
  return x_registers->read<Iqh>(iqh_offset).get<iqh::Qh>() == x_registers->read<Iqt>(iqt_offset).get<iqt::Qt>();
}

void InvalidationQueue::put(u32 index, Descriptor value) {
  if (x_width == Width::Bits128) return hw_store(*x_world, &x_ring[index], value);
  hw_store(*x_world, &x_ring[2 * index + 1], Quad{});
  hw_store(*x_world, &x_ring[2 * index], value);
}

void InvalidationQueue::append(Descriptor value) {
  put(x_tail, value);
  x_tail = (x_tail + 1) % entry_count;
}

void InvalidationQueue::ring_doorbell() {
  x_registers->write(hw::vtd::iqt_offset, hw::vtd::Iqt(x_tail * slot_bytes()));
}

u32 InvalidationQueue::head() const {
  const u64 slots = x_registers->read<hw::vtd::Iqh>(hw::vtd::iqh_offset).get<hw::vtd::iqh::Qh>();
  return static_cast<u32>(slots * 16 / slot_bytes()) % entry_count;
}

u32 InvalidationQueue::free_slots() const {
  const u32 used = (x_tail + entry_count - head()) % entry_count;
  return entry_count - 1 - used;
}

PhysAddr InvalidationQueue::scrap() const { return x_storage.status + scrap_offset_bytes; }

Status InvalidationQueue::wait_for(u32 sequence) {
  using namespace hw::vtd;
  const u64 start = x_world->now_ns();
  bool refused = false;
  for (;;) {
    // Pairs with the status write of the hardware.
    if (__atomic_load_n(&x_status[0], __ATOMIC_ACQUIRE) == sequence) return refused ? Status(Code::Io) : Status();
    if (x_registers->read<Fsts>(fsts_offset).get<fsts::Iqe>() != 0) {
      refused = true;
      repair();
    }
    if (x_world->now_ns() - start > queue_timeout_ns) return Code::TimedOut;
    x_world->relax();
  }
}

/// Hardware stopped at a descriptor that it does not accept. A wait that writes to nobody's word takes its place.
void InvalidationQueue::repair() {
  using namespace hw::vtd;
  put(head(), wait_descriptor(scrap(), x_sequence, Fence::No));
  x_registers->write(fsts_offset, Fsts().with<fsts::Iqe>(1));
}

Descriptor context_cache_global() {
  namespace f = hw::vtd::context_cache_descriptor;
  return descriptor(hw::vtd::ContextCacheDescriptor()
                        .with<f::Type>(raw(DescriptorType::ContextCache))
                        .with<f::G>(raw(hw::vtd::ContextGranularity::Global)));
}

Descriptor context_cache_device(DomainId did, SourceId device) {
  namespace f = hw::vtd::context_cache_descriptor;
  return descriptor(hw::vtd::ContextCacheDescriptor()
                        .with<f::Type>(raw(DescriptorType::ContextCache))
                        .with<f::G>(raw(hw::vtd::ContextGranularity::Device))
                        .with<f::Did>(did.value)
                        .with<f::Sid>(device.value));
}

Descriptor pasid_cache_global() {
  namespace f = hw::vtd::pasid_cache_descriptor;
  return descriptor(hw::vtd::PasidCacheDescriptor()
                        .with<f::Type>(raw(DescriptorType::PasidCache))
                        .with<f::G>(raw(hw::vtd::PasidGranularity::Global)));
}

Descriptor pasid_cache_pasid(DomainId did, u32 pasid) {
  namespace f = hw::vtd::pasid_cache_descriptor;
  return descriptor(hw::vtd::PasidCacheDescriptor()
                        .with<f::Type>(raw(DescriptorType::PasidCache))
                        .with<f::G>(raw(hw::vtd::PasidGranularity::PasidInDomain))
                        .with<f::Did>(did.value)
                        .with<f::Pasid>(pasid));
}

Descriptor iotlb_global(Draining draining) { return descriptor(iotlb(draining, hw::vtd::IotlbGranularity::Global)); }

Descriptor iotlb_domain(Draining draining, DomainId did) {
  namespace f = hw::vtd::iotlb_descriptor;
  return descriptor(iotlb(draining, hw::vtd::IotlbGranularity::Domain).with<f::Did>(did.value));
}

Descriptor iotlb_pages(Draining draining, DomainId did, Iova start, u8 mask, TableChange change) {
  namespace f = hw::vtd::iotlb_descriptor;
  return descriptor(iotlb(draining, hw::vtd::IotlbGranularity::Page)
                        .with<f::Did>(did.value)
                        .with<f::Addr>(start.value >> page_lg2)
                        .with<f::Am>(mask)
                        .with<f::Ih>(change == TableChange::LeavesOnly ? 1 : 0));
}

Descriptor pasid_iotlb_all(DomainId did, u32 pasid) {
  return descriptor(pasid_iotlb(hw::vtd::PasidIotlbGranularity::AllInPasid, did, pasid));
}

Descriptor pasid_iotlb_pages(DomainId did, u32 pasid, Iova start, u8 mask, TableChange change) {
  namespace f = hw::vtd::pasid_iotlb_descriptor;
  return descriptor(pasid_iotlb(hw::vtd::PasidIotlbGranularity::Page, did, pasid)
                        .with<f::Addr>(start.value >> page_lg2)
                        .with<f::Am>(mask)
                        .with<f::Ih>(change == TableChange::LeavesOnly ? 1 : 0));
}

}  // namespace holdfast::vtd
