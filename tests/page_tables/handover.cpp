#include "tests/page_tables/handover.hpp"

namespace page_tables {

Handover::Handover(const Variant& variant) : scene(variant, ram_bytes) { take_guest_memory(); }

Handover::Handover(const Variant& variant, Filling filling) : Handover(variant) {
  fill(filling);
  preserve();
}

Handover::Handover(const Variant& variant, Iova iova) : Handover(variant) {
  if (!scene.map(iova.value, guest[3].start.value, scene.of.granule()).ok())
    throw std::runtime_error("one page could not be mapped");
  preserve();
}

void Handover::preserve() {
  if (!scene.table->preserve(sink).ok()) throw std::runtime_error("the table could not be preserved");
  saved = scene.table->saved();
  tables = scene.tables();
  for (unsigned level = 0; level < scene.table->levels(); ++level) orders.push_back(scene.order_of(level));
  walked = scene.walk_naively();
  blocks.assign(scene.table->arena().blocks().begin(), scene.table->arena().blocks().end());
}

Handover::~Handover() {
  if (scene.table == nullptr) return;
  scene.table->unpreserve(sink);
  for (const auto& [start, order] : guest_blocks.blocks) {
    scene.memory.buddy.release(PhysAddr(start), order);
    EXPECT_EQ(sink.blocks.erase({start, order}), 1u);
  }
  EXPECT_TRUE(sink.blocks.empty()) << "unpreserve is the exact inverse";
}

void Handover::take_guest_memory() {
  for (const unsigned order : {9u, 8u, 5u, 4u, 0u}) {
    const Block block{scene.memory.buddy.allocate(order).value(), order};
    guest.push_back({block.start, block.size_bytes()});
    if (!sink.preserve(block).ok() || !guest_blocks.preserve(block).ok())
      throw std::runtime_error("guest memory could not be preserved");
  }
}

void Handover::fill(Filling filling) {
  const u64 page = scene.of.granule();
  const auto spans = scene.of.spans();
  if (filling == Filling::OnePage && !scene.map(spans[0].last - (page - 1), guest[3].start.value, page).ok())
    throw std::runtime_error("one page could not be mapped");
  if (filling == Filling::Everything)
    for (const Span& span : spans) fill_span(span);
}

void Handover::fill_span(const Span& span) {
  const u64 page = scene.of.granule();
  const auto must = [](const Status& status) {
    if (!status.ok()) throw std::runtime_error("the table could not be filled");
  };
  must(scene.map(span.first, guest[3].start.value, page, scene.of.permitted(Prot::Read)));
  must(scene.map(span.last - (page - 1), guest[3].start.value, page));
  // Every size from the middle down, each aligned to itself; guest memory has up to 2 MiB in one piece.
  const u64 middle = scene.of.boundary(span);
  u64 at = middle;
  for (const unsigned size_lg2 : scene.of.all_sizes()) {
    const u64 size = u64{1} << size_lg2;
    if (size > guest[0].size_bytes || at - span.first < 3 * size) continue;
    at = (at - size) & ~(size - 1);
    must(scene.map(at, guest[size > guest[1].size_bytes ? 0 : 1].start.value & ~(size - 1), size,
                   scene.of.permitted(size_lg2 % 2 == 0 ? Prot::Write : Prot::ReadWrite)));
  }
  // Over the boundary, page by page; and tables that are left empty.
  const u64 some = std::min<u64>((span.last - middle) / page / 4, 8) + 1;
  must(scene.map(middle, guest[0].start.value + page, some * page));
  scene.unmap(middle + page, (some - 1) * page);
}

void Handover::jump() {
  scene.leave();
  next = std::make_unique<NextKernel>(scene.world, sink);
}

RestoredTable& Handover::restore() {
  return *RestoredTable::create(next->memory, scene.config.format, saved, scene.variant.mode, blocks).value();
}

void Handover::remove_stamps() {
  for (const auto& [page, level] : tables)
    for (u64 i = 0; i < u64{1} << orders[level]; ++i)
      next->memory.frames.at(PhysAddr(page) + i * page_size_bytes).mark = 0;
}

bool Handover::is_guest(u64 address) const {
  return std::ranges::any_of(guest, [&](const PhysRange& range) { return range.contains(PhysAddr(address), 1); });
}

Model read_all(const Reader& reader) {
  Model model;
  reader.for_each_leaf([&](Iova from, const Translation& to) {
    model[from.value] = {to.address.value, static_cast<unsigned>(std::countr_zero(to.page_size)), to.prot};
  });
  return model;
}

}  // namespace page_tables
