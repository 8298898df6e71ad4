// `holdfast run`: options, the run, the report.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>

#include "cli/commands.hpp"
#include "cli/render.hpp"
#include "cli/run_world.hpp"
#include "cli/size_option.hpp"
#include "host/run_error.hpp"

namespace cli {
namespace {

enum class Output { Table, Json };

struct RunCommand {
  host::RunOptions options;
  bool json = false;  // set by the parser
  bool preserve = true;
  Invocation invocation;
};

/// An option whose value is one of @p choices.
template <class Choice>
void add_choice(CLI::App& app, const std::string& name, Choice& to, const std::map<std::string, Choice>& choices,
                const std::string& help) {
  std::string list;
  for (const auto& [word, value] : choices) list += (list.empty() ? "" : "|") + word;
  auto choose = [name, list, choices, &to](const std::string& word) {
    const auto found = choices.find(word);
    if (found == choices.end()) throw CLI::ValidationError(name, "'" + word + "' is none of " + list);
    to = found->second;
  };
  app.add_option_function<std::string>(name, choose, help)->type_name(list);
}

void add_size(CLI::App& app, const std::string& name, holdfast::u64& to, const std::string& help) {
  auto set = [name, &to](const std::string& text) {
    const std::optional<holdfast::u64> size = parse_size(text);
    if (!size)
      throw CLI::ValidationError(name, "'" + text + "' is no size; write a number and K, M, G or T, such as 256M");
    to = *size;
  };
  app.add_option_function<std::string>(name, set, help)->type_name("SIZE")->default_str(host::size_text(to));
}

template <class Number>
void add_number(CLI::App& app, const std::string& name, Number& to, const std::string& help) {
  app.add_option(name, to, help)->type_name("N")->capture_default_str();
}

void add_options(CLI::App& app, RunCommand& command) {
  host::RunOptions& options = command.options;
  add_choice<host::WorldKind>(app, "--world", options.world,
                              {{"processes", host::WorldKind::Processes}, {"model", host::WorldKind::Model}},
                              "where: kernel and machine in processes of their own, in real time (default), or both in "
                              "this one, step by step");
  add_number(app, "--updates", options.updates, "live updates in a row");
  add_number(app, "--devices", options.devices, "preserved devices; one more, not preserved, stands beside them");
  add_choice<vmm::DomainLayout>(app, "--domains", options.domains,
                                {{"separate", vmm::DomainLayout::Separate}, {"shared", vmm::DomainLayout::Shared}},
                                "one translation domain per device (default), or one for all");
  add_size(app, "--ram", options.ram_bytes, "RAM of the machine");
  add_size(app, "--mapped", options.mapped_bytes,
           "bytes mapped per domain; may exceed --ram, guest memory is then mapped again and again");
  add_choice<vmm::LeafChoice>(app, "--leaf", options.leaves,
                              {{"4K", vmm::LeafChoice::Only4K}, {"auto", vmm::LeafChoice::Auto}},
                              "page size of the mappings: the largest that fits (default), or 4K only");
  add_choice<host::TranslationMode>(
      app, "--mode", options.mode,
      {{"scalable", host::TranslationMode::Scalable}, {"legacy", host::TranslationMode::Legacy}},
      "mode of the IOMMU (default: scalable)");
  app.add_flag("--preserve,!--no-preserve", command.preserve,
               "mark and preserve (default); --no-preserve is the control: devices must fault");
  add_choice<host::AnswerPolicy>(app, "--policy", options.policy,
                                 {{"holdfast", host::AnswerPolicy::Holdfast}, {"linux", host::AnswerPolicy::Linux}},
                                 "whose answers the kernel gives (default: holdfast)");
  add_number(app, "--seed", options.seed, "seed of everything that is chosen at random");
  app.add_option("--dump", options.dump_directory,
                 "keep the machine's RAM as it was at each jump, and where the handover begins")
      ->type_name("DIR");
  app.add_flag("--json", command.json, "print the report as JSON, schema holdfast.run/1");
}

void print_error(const host::RunError& error) {
  std::string text = std::string("holdfast run: ") + error.what() + "\n";
  if (!error.likely_why().empty()) text += "  likely because: " + error.likely_why() + "\n";
  if (!error.what_next().empty()) text += "  what next: " + error.what_next() + "\n";
  std::fputs(text.c_str(), stderr);
}

/// Progress is for people who watch.
Progress progress_for_terminal() {
  if (::isatty(STDERR_FILENO) == 0) return [](const std::string&) {};
  return [](const std::string& text) { std::fprintf(stderr, "holdfast run: %s\n", text.c_str()); };
}

Color color_for_stdout() {
  const char* no_color = std::getenv("NO_COLOR");
  const bool wanted = no_color == nullptr || no_color[0] == '\0';
  return wanted && ::isatty(STDOUT_FILENO) != 0 ? Color::Yes : Color::No;
}

void print_report(const host::RunReport& report, Output output) {
  if (output == Output::Table) {
    std::cout << render_table(report, color_for_stdout());
    return;
  }
  std::cout << render_json(report);
  for (const std::string& complaint : report.complaints) std::cerr << "holdfast run: not clean: " << complaint << "\n";
  for (const std::string& note : report.notes) std::cerr << "holdfast run: note: " << note << "\n";
}

host::ExitCode execute(const RunCommand& command) {
  try {
    host::check_options(command.options);
    const host::RunReport report = run_world(command.options, command.invocation, progress_for_terminal());
    print_report(report, command.json ? Output::Json : Output::Table);
    if (!report.clean) std::fputs("holdfast run: HOLDFAST_LOG=warning shows what the kernels say\n", stderr);
    if (!std::cout.flush())
      throw host::RunError(host::ExitCode::Internal, "the report could not be written to standard output");
    return report.clean ? host::ExitCode::Ok : host::ExitCode::NotClean;
  } catch (const host::RunError& error) {
    print_error(error);
    return error.code();
  } catch (const std::exception& error) {
    print_error(host::RunError(host::ExitCode::Internal, error.what(), "this is a bug"));
    return host::ExitCode::Internal;
  }
}

}  // namespace

void add_run_command(CLI::App& app, const Invocation& invocation, int& exit_code) {
  auto command = std::make_shared<RunCommand>();
  command->invocation = invocation;
  CLI::App* run = app.add_subcommand("run", "run live updates on a modelled machine and report what its devices saw");
  add_options(*run, *command);
  run->callback([command, &exit_code] {
    if (!command->preserve) command->options.preservation = vmm::Preservation::Nothing;
    exit_code = static_cast<int>(execute(*command));
  });
}

}  // namespace cli
