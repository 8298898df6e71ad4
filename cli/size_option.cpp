// Parsing of sizes.
#include "cli/size_option.hpp"

#include <charconv>
#include <limits>
#include <string_view>

namespace cli {
namespace {

using holdfast::u64;

/// Exponent of two that @p suffix stands for.
std::optional<unsigned> shift_of(std::string_view suffix) {
  if (suffix.empty()) return 0;
  const std::string_view letters = "KMGT";
  const char letter = suffix[0] >= 'a' && suffix[0] <= 'z' ? static_cast<char>(suffix[0] - 'a' + 'A') : suffix[0];
  const std::size_t place = letters.find(letter);
  const std::string_view rest = suffix.substr(1);
  if (place == std::string_view::npos || (!rest.empty() && rest != "iB")) return std::nullopt;
  return 10 * (static_cast<unsigned>(place) + 1);
}

}  // namespace

std::optional<u64> parse_size(std::string_view text) {
  u64 number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  const std::optional<unsigned> shift = shift_of(text.substr(static_cast<std::size_t>(end - text.data())));
  if (!shift || number > std::numeric_limits<u64>::max() >> *shift) return std::nullopt;
  return number << *shift;
}

}  // namespace cli
