// What a run is asked to do: the options of `holdfast run`, as plain data.
#pragma once

#include <string>

#include "holdfast/base/types.hpp"
#include "vmm/report.hpp"

namespace host {

using namespace holdfast;

enum class WorldKind : u32 { Processes, Model };
enum class TranslationMode : u32 { Scalable, Legacy };
enum class AnswerPolicy : u32 { Holdfast, Linux };

struct RunOptions {
  WorldKind world = WorldKind::Processes;
  u32 updates = 3;
  u32 devices = 3;  // preserved ones; one more stands beside them
  vmm::DomainLayout domains = vmm::DomainLayout::Separate;
  u64 ram_bytes = u64{1} << 30;
  u64 mapped_bytes = u64{256} << 20;  // per domain
  vmm::LeafChoice leaves = vmm::LeafChoice::Auto;
  TranslationMode mode = TranslationMode::Scalable;
  vmm::Preservation preservation = vmm::Preservation::Preserve;
  AnswerPolicy policy = AnswerPolicy::Holdfast;
  u64 seed = 1;
  std::string dump_directory;  // empty: no dump
};

/// Guest memory behind one run: a power of two that divides mapped_bytes, at most an eighth of RAM and 64 MiB.
[[nodiscard]] u64 guest_memory_bytes(const RunOptions& options);

/// RAM that the machine needs at least for @p options, an estimate from above: guest memory, two sets of page tables
/// for each domain, frame table, scratch and what the kernel needs itself.
[[nodiscard]] u64 needed_ram_bytes(const RunOptions& options);

/// @throws RunError (Usage) when the options contradict each other, (InputMissing) when this computer has too little
/// memory for them.
void check_options(const RunOptions& options);

/// What the VMM is to do in the first generation.
[[nodiscard]] vmm::Options vmm_options(const RunOptions& options);

/// The command line of the kernel, as holdfast/kernel/options.hpp reads it.
[[nodiscard]] std::string kernel_command_line(TranslationMode mode, AnswerPolicy policy);

/// "1.5 GiB", "256 MiB", "4 KiB".
[[nodiscard]] std::string size_text(u64 size_bytes);

}  // namespace host
