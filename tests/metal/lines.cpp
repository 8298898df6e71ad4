// See lines.hpp.
#include "tests/metal/lines.hpp"

#include <cctype>
#include <charconv>

namespace metal_test {
namespace {

constexpr std::string_view mark = "hf: ";

std::string_view next_word(std::string_view& rest) {
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  const std::string_view word = rest.substr(0, rest.find(' '));
  rest.remove_prefix(word.size());
  return word;
}

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }
bool is_hex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }
bool is_of_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

}  // namespace

std::string_view Line::field(std::string_view name) const {
  const auto found = fields.find(name);
  return found == fields.end() ? std::string_view() : std::string_view(found->second);
}

std::optional<u64> Line::number(std::string_view name) const {
  std::string_view digits = field(name);
  const bool hex = digits.starts_with("0x");
  if (hex) digits.remove_prefix(2);
  u64 value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

bool Line::is(std::string_view name, std::string_view workload) const {
  return what == name && (workload.empty() || field("workload") == workload);
}

Line parse_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\r' || text.back() == '\n')) text.remove_suffix(1);
  Line line;
  line.text = text;
  if (!text.starts_with(mark)) return line;
  std::string_view rest = text.substr(mark.size());
  line.what = next_word(rest);
  for (std::string_view word = next_word(rest); !word.empty(); word = next_word(rest)) {
    const auto equals = word.find('=');
    const std::string_view value = equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1);
    line.fields.emplace(word.substr(0, equals), value);
  }
  return line;
}

std::string without_numbers(std::string_view text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size();) {
    const bool in_name = !plain.empty() && is_of_name(plain.back());
    if (in_name || !is_digit(text[at])) {
      plain += text[at++];
      continue;
    }
    const bool hex = text.substr(at).starts_with("0x") && at + 2 < text.size() && is_hex(text[at + 2]);
    plain += hex ? "0xN" : "N";
    if (hex) at += 2;
    while (at < text.size() && (hex ? is_hex(text[at]) : is_digit(text[at]))) ++at;
    // A unit or the rest of a hexadecimal number without 0x is part of the number's name and stays as it is.
  }
  return plain;
}

}  // namespace metal_test
