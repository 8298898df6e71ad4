#include "holdfast/vtd/entry_writer.hpp"

namespace holdfast::vtd {

namespace {

constexpr u64 cache_line_bytes = 64;
constexpr u64 present = 1;

}  // namespace

void EntryWriter::install(std::span<Quad> entry, std::span<const Quad> value) {
  verify_invariant(entry.size() == value.size() && !entry.empty(), "an entry and its value differ in size");
  verify_invariant((entry[0].lo & present) == 0, "installed over a present entry");
  for (u64 piece = entry.size() - 1; piece != 0; --piece) hw_store(*x_world, &entry[piece], value[piece]);
  // Written back before P can be: hardware that does not snoop must not find P with an old rest.
  write_back(entry.data(), entry.size_bytes());
  hw_store(*x_world, &entry[0], value[0]);
  write_back(entry.data(), entry.size_bytes());
}

void EntryWriter::replace(Quad& piece, Quad value) {
  hw_store(*x_world, &piece, value);
  write_back(&piece, sizeof(Quad));
}

void EntryWriter::clear_present(std::span<Quad> entry) {
  hw_store(*x_world, &entry[0].lo, entry[0].lo & ~present);
  write_back(entry.data(), sizeof(Quad));
}

void EntryWriter::clear_rest(std::span<Quad> entry) {
  verify_invariant((entry[0].lo & present) == 0, "the rest of a present entry was cleared");
  for (Quad& piece : entry) hw_store(*x_world, &piece, Quad{});
  write_back(entry.data(), entry.size_bytes());
}

void EntryWriter::write_word(u64& where, u64 value) {
  hw_store(*x_world, &where, value);
  write_back(&where, sizeof where);
}

void EntryWriter::write_back(const void* where, u64 size_bytes) {
  if (x_walk == Walk::Coherent) return;
  const auto* line = static_cast<const std::byte*>(where);
  const auto* end = line + size_bytes;
  line -= reinterpret_cast<std::uintptr_t>(line) % cache_line_bytes;
  for (; line < end; line += cache_line_bytes) asm volatile("clflush %0" : : "m"(*line) : "memory");
  asm volatile("mfence" : : : "memory");
}

}  // namespace holdfast::vtd
