#include "holdfast/kernel/options.hpp"

#include "holdfast/base/words.hpp"

namespace holdfast::kernel {
namespace {

struct Word {
  std::string_view key;
  std::string_view value;
};

Word next_word(std::string_view& line) {
  while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
  std::string_view word = take_until(line, ' ');
  const std::string_view key = take_until(word, '=');
  return {.key = key, .value = word};
}

template <class T>
Status choose(T& option, std::string_view value, std::string_view first_name, T first, std::string_view second_name,
              T second) {
  if (value == first_name) return option = first, Status();
  if (value == second_name) return option = second, Status();
  return Code::Invalid;
}

/// Decimal digits and nothing else.
Result<u32> number_below(u64 limit, std::string_view value) {
  u64 number = 0;
  for (const char c : value) {
    if (c < '0' || c > '9') return Code::Invalid;
    number = number * 10 + static_cast<u64>(c - '0');
    if (number >= limit) return Code::Invalid;
  }
  if (value.empty()) return Code::Invalid;
  return static_cast<u32>(number);
}

}  // namespace

Result<Options> parse_command_line(std::string_view line) {
  Options options;
  while (true) {
    const Word word = next_word(line);
    if (word.key.empty()) break;
    if (word.key == "mode") {
      TRY(choose(options.mode, word.value, "scalable", vtd::Mode::Scalable, "legacy", vtd::Mode::Legacy));
    } else if (word.key == "stage") {
      options.stage.emplace();
      TRY(choose(*options.stage, word.value, "first", pt::Format::X86FirstStage, "second", pt::Format::VtdSecondStage));
    } else if (word.key == "rid_pasid") {
      TRY_ASSIGN(options.rid_pasid, number_below(vtd::rid_pasid_limit, word.value));
    } else if (word.key == "rps") {
      TRY(choose(options.rid_pasid_support, word.value, "reported", vtd::RidPasidSupport::Reported, "assumed",
                 vtd::RidPasidSupport::Assumed));
    } else if (word.key == "policy") {
      TRY(choose(options.policy, word.value, "holdfast", luo::Policy::Holdfast, "linux", luo::Policy::Linux));
    } else if (word.key == "tables") {
      TRY(choose(options.tables, word.value, "arena", TableMode::Arena, "page", TableMode::Page));
    } else {
      return Code::Invalid;
    }
  }
  if (options.rid_pasid != 0 && options.mode != vtd::Mode::Scalable) return Code::Invalid;
  return options;
}

}  // namespace holdfast::kernel
