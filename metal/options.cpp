#include "metal/options.hpp"

#include <charconv>

#include "holdfast/base/words.hpp"

namespace metal {
namespace {

constexpr std::string_view world_prefix = "metal.";

template <class T>
bool parse_number(std::string_view text, T& value, int base) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool parse_watch(std::string_view text, Watch& watch) {
  constexpr int hexadecimal = 16;
  return parse_number(take_until(text, ':'), watch.vendor, hexadecimal) &&
         parse_number(take_until(text, ':'), watch.device, hexadecimal) &&
         parse_number(text, watch.offset, hexadecimal) && watch.offset % sizeof(u32) == 0;
}

bool parse_sabotage(std::string_view text, Sabotage& sabotage) {
  struct Name {
    std::string_view name;
    Sabotage sabotage;
  };
  for (const Name& known :
       {Name{"translation-off", Sabotage::TranslationOff}, Name{"table", Sabotage::Table},
        Name{"bus-master", Sabotage::BusMaster}, Name{"context", Sabotage::Context}, Name{"record", Sabotage::Record}})
    if (known.name == text) return sabotage = known.sabotage, true;
  return false;
}

bool parse_world_word(std::string_view word, Options& options) {
  word.remove_prefix(world_prefix.size());
  const std::string_view key = take_until(word, '=');
  if (key == "hold_us") return parse_number(word, options.hold_us, 10) && options.hold_us <= most_hold_us;
  if (key == "watch") return parse_watch(word, options.watch);
  if (key == "sabotage") return parse_sabotage(word, options.sabotage);
  return false;
}

void append(Options& options, std::string_view word) {
  if (options.kernel_line_bytes != 0) options.kernel_line[options.kernel_line_bytes++] = ' ';
  for (const char c : word) options.kernel_line[options.kernel_line_bytes++] = c;
}

}  // namespace

Status parse_options(std::string_view line, Options& options, std::string_view& bad) {
  if (line.size() > max_command_line_bytes) return bad = line, Status(Code::Invalid);
  while (!line.empty()) {
    const std::string_view word = take_until(line, ' ');
    if (word.empty()) continue;
    if (word == "--") {
      options.vmm_line = line;
      return {};
    }
    if (!word.starts_with(world_prefix)) {
      append(options, word);
    } else if (!parse_world_word(word, options)) {
      return bad = word, Status(Code::Invalid);
    }
  }
  return {};
}

}  // namespace metal
