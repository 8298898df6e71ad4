// What a kernel process is started with, and all that a jump carries over outside the machine: descriptors, the
// handover's four numbers, and what the VMM is to do. As words of a command line, because execve passes nothing else.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "holdfast/base/boot_info.hpp"
#include "holdfast/base/world.hpp"
#include "host/machine_process.hpp"
#include "host/run_options.hpp"
#include "vmm/report.hpp"

namespace host {

/// Whether the supervisor copies RAM before the next kernel starts.
enum class JumpDump : u32 { No, Yes };

struct KernelArguments {
  MachineFds machine;
  int report_fd = -1;
  Handover handover;
  vmm::Options vmm;  // updates and generation change from jump to jump
  TranslationMode mode = TranslationMode::Scalable;
  AnswerPolicy policy = AnswerPolicy::Holdfast;
  LogLevel log_level = LogLevel::Warning;
  JumpDump dump = JumpDump::No;
};

/// A command line in memory of its own: made without allocating, as the last act before a jump must be.
class ArgumentWords {
 public:
  /// @p first words stand before those of @p arguments (program, subcommand).
  ArgumentWords(std::span<const std::string_view> first, const KernelArguments& arguments);

  /// Null-terminated, as execve takes it. Valid as long as this object.
  [[nodiscard]] char* const* argv() { return x_pointers.data(); }
  [[nodiscard]] std::vector<std::string> strings() const;

 private:
  void begin_word();
  void append(std::string_view text);
  void append_number(std::string_view key, u64 value);

  std::array<char, 2048> x_text{};
  std::array<char*, 48> x_pointers{};
  std::size_t x_used = 0;
  std::size_t x_count = 0;
};

/// Reads what ArgumentWords wrote. @p words without the first ones.
/// @throws RunError (Usage) for a word it does not know and for one that is missing.
[[nodiscard]] KernelArguments parse_kernel_arguments(std::span<char* const> words);

}  // namespace host
