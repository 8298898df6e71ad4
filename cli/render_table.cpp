// The table of a run.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "cli/render.hpp"

namespace cli {
namespace {

using holdfast::u64;
using host::UpdateReport;

constexpr std::size_t columns_per_block = 6;
constexpr int label_width = 34;
constexpr int column_width = 14;

std::string time_text(u64 ns) {
  if (ns < 10'000) return fmt::format("{} ns", ns);
  if (ns < 10'000'000) return fmt::format("{:.1f} us", static_cast<double>(ns) / 1e3);
  if (ns < 10'000'000'000) return fmt::format("{:.1f} ms", static_cast<double>(ns) / 1e6);
  return fmt::format("{:.1f} s", static_cast<double>(ns) / 1e9);
}

std::string count_text(u64 count) {
  std::string digits = std::to_string(count);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

/// How a cell is to be read.
enum class Expect { Anything, Zero, NotZero };

struct Row {
  const char* label;
  std::function<u64(const UpdateReport&)> value;
  std::string (*text)(u64) = count_text;
  Expect expect = Expect::Anything;
};

struct Section {
  const char* title;
  std::vector<Row> rows;
};

std::vector<Section> sections() {
  using U = const UpdateReport&;
  return {
      {"time",
       {{"preserve", [](U u) { return u.phases_ns.preserve; }, time_text},
        {"freeze", [](U u) { return u.phases_ns.freeze; }, time_text},
        {"cut-off", [](U u) { return u.phases_ns.cut_off; }, time_text},
        {"jump", [](U u) { return u.phases_ns.jump; }, time_text},
        {"live boot", [](U u) { return u.phases_ns.live_boot; }, time_text},
        {"retrieve", [](U u) { return u.phases_ns.retrieve; }, time_text},
        {"replace", [](U u) { return u.phases_ns.replace; }, time_text},
        {"finish", [](U u) { return u.phases_ns.finish; }, time_text},
        {"blackout", [](U u) { return u.blackout_ns; }, time_text}}},
      {"touched in the blackout",
       {{"tables", [](U u) { return u.touched_in_blackout.tables; }},
        {"blocks", [](U u) { return u.touched_in_blackout.blocks; }},
        {"records", [](U u) { return u.touched_in_blackout.records; }},
        {"files", [](U u) { return u.touched_in_blackout.files; }},
        {"frames", [](U u) { return u.touched_in_blackout.frames; }}}},
      {"preserved devices",
       {{"mapped", [](U u) { return u.mapped_bytes; }, host::size_text},
        {"transfers before", [](U u) { return u.transfers.before; }},
        {"transfers in the blackout", [](U u) { return u.transfers.gap; }, count_text, Expect::NotZero},
        {"transfers after", [](U u) { return u.transfers.after; }},
        {"lost", [](U u) { return u.lost; }, count_text, Expect::Zero},
        {"repeated", [](U u) { return u.repeated; }, count_text, Expect::Zero},
        {"wrong", [](U u) { return u.wrong; }, count_text, Expect::Zero},
        {"faulted", [](U u) { return u.faulted; }, count_text, Expect::Zero}}},
      {"device not preserved, after its cut-off",
       {{"transfers", [](U u) { return u.bystander.transfers; }, count_text, Expect::Zero},
        {"faults", [](U u) { return u.bystander.faulted; }}}},
  };
}

class Table {
 public:
  Table(const host::RunReport& report, Color color) : x_report(report), x_color(color) {}

  std::string render() {
    const std::size_t count = x_report.updates.size();
    for (std::size_t from = 0; from < count; from += columns_per_block)
      block(from, std::min(count, from + columns_per_block));
    for (const std::string& note : x_report.notes) x_text += "note: " + note + "\n";
    verdict();
    return std::move(x_text);
  }

 private:
  void block(std::size_t from, std::size_t to) {
    x_text += std::string(label_width, ' ');
    for (std::size_t i = from; i < to; ++i)
      x_text += fmt::format("{:>{}}", fmt::format("update {}", i + 1), column_width);
    x_text += "\n";
    for (const Section& section : sections()) {
      x_text += paint("1", section.title) + "\n";
      for (const Row& row : section.rows) {
        x_text += fmt::format("  {:<{}}", row.label, label_width - 2);
        for (std::size_t i = from; i < to; ++i) cell(row, x_report.updates[i]);
        x_text += "\n";
      }
    }
    x_text += "\n";
  }

  void cell(const Row& row, const UpdateReport& update) {
    const u64 value = row.value(update);
    const bool bad = (row.expect == Expect::Zero && value != 0) || (row.expect == Expect::NotZero && value == 0);
    const std::string text = fmt::format("{:>{}}", row.text(value), column_width);
    x_text += bad ? paint("31", text) : text;
  }

  void verdict() {
    if (x_report.clean) {
      x_text += paint("32", "clean") + ": no transfer of a preserved device was lost, repeated, wrong or faulted\n";
      return;
    }
    x_text += paint("31", "not clean") + ":\n";
    for (const std::string& complaint : x_report.complaints) x_text += "  " + complaint + "\n";
  }

  [[nodiscard]] std::string paint(const char* code, const std::string& text) const {
    return x_color == Color::Yes ? fmt::format("\033[{}m{}\033[0m", code, text) : text;
  }

  const host::RunReport& x_report;
  Color x_color;
  std::string x_text;
};

}  // namespace

std::string render_table(const host::RunReport& report, Color color) { return Table(report, color).render(); }

}  // namespace cli
