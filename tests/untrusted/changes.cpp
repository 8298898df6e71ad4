#include "tests/untrusted/changes.hpp"

#include <bit>
#include <cstring>

namespace untrusted {
namespace {

u64 number_of(const std::string& bytes) {
  u64 number = 0;
  std::memcpy(&number, bytes.data(), std::min<std::size_t>(bytes.size(), sizeof number));
  return number;
}

class List {
 public:
  explicit List(const std::string& now) : x_now(now) {}

  void bytes(const char* name, std::string bytes) {
    if (bytes == x_now) return;
    for (const Change& before : x_changes)
      if (before.bytes == bytes) return;
    x_changes.push_back({name, std::move(bytes)});
  }
  void number(const char* name, u64 value) {
    std::string text(x_now.size(), '\0');
    std::memcpy(text.data(), &value, text.size());
    bytes(name, text);
  }
  std::vector<Change> take() { return std::move(x_changes); }

 private:
  const std::string& x_now;
  std::vector<Change> x_changes;
};

void change_address(List& list, u64 now, const Field& field, const Targets& targets) {
  list.number("one page up", now + page_size_bytes);
  list.number("one page down", now - page_size_bytes);
  list.number("outside memory", targets.outside.value);
  list.number("at registers", targets.registers.value);
  list.number("into free memory", targets.free_page.value);
  list.number("at another record", targets.other_record.value);
  if (field.sibling != PhysAddr{}) list.number("at its sibling", field.sibling.value);
  // What hardware reads keeps flags in the low bits of an address.
  if (const u64 flags = now & (page_size_bytes - 1); flags != 0 && now != flags) {
    list.number("outside memory, flags kept", targets.outside.value | flags);
    list.number("into free memory, flags kept", targets.free_page.value | flags);
    list.number("at another record, flags kept", targets.other_record.value | flags);
    if (field.sibling != PhysAddr{}) list.number("at its sibling, flags kept", field.sibling.value | flags);
  } else if (field.family == Family::LiveEntries || field.family == Family::PageTables) {
    list.number("into free memory, present", targets.free_page.value | 3);
    list.number("outside memory, present", targets.outside.value | 3);
    if (field.sibling != PhysAddr{}) list.number("at its sibling, present", field.sibling.value | 3);
  }
}

void change_bits(List& list, u64 now) { list.number("one bit more", now | (now + 1)); }

}  // namespace

std::vector<Change> changes_of(const Field& field, const std::string& now, const Targets& targets) {
  List list(now);
  const u64 number = number_of(now);
  if (field.shape == Shape::OneBit) {
    list.number("off", number & ~(u64{1} << field.bit));
    return list.take();
  }
  list.bytes("zero", std::string(now.size(), '\0'));
  list.bytes("all ones", std::string(now.size(), '\xff'));
  const bool is_number = now.size() == 8 || now.size() == 4 || now.size() == 2 || now.size() == 1;
  if (!is_number || field.shape == Shape::Text) {
    std::string first = now, last = now;
    first.front() ^= 1;
    last.back() ^= 1;
    list.bytes("first byte changed", first);
    list.bytes("last byte changed", last);
    return list.take();
  }
  list.number("one more", number + 1);
  list.number("one less", number - 1);
  if (field.shape == Shape::Bits) change_bits(list, number);
  if (field.shape == Shape::Number && now.size() == 8) change_address(list, number, field, targets);
  return list.take();
}

std::vector<Way> ways_of(const Field& field) {
  std::vector<Way> ways{Way::Raw};
  const bool is_checksum = field.name.ends_with(".checksum");
  // Of a hardware entry no checksum is kept, only the attested copy.
  if (field.repair && !is_checksum && field.family != Family::LiveEntries) ways.push_back(Way::Repaired);
  if (field.twin != PhysAddr{}) ways.push_back(Way::Twinned);
  return ways;
}

const char* to_string(Way way) {
  switch (way) {
    case Way::Raw: return "raw";
    case Way::Repaired: return "with checksums made right";
    case Way::Twinned: return "with its attested copy and checksums made right";
  }
  return "";
}

}  // namespace untrusted
