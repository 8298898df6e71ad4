// A broken invariant: its site on the console, then the end of the machine with a code that is not success.
#include "holdfast/base/panic.hpp"

#include "holdfast/base/text_line.hpp"
#include "metal/console.hpp"
#include "metal/exit.hpp"
#include "metal/kept_log.hpp"

extern "C" [[noreturn]] void holdfast_panic(const char* what, const char* file, unsigned line) {
  metal::print_kept_log();
  metal::print("panic: ");
  metal::print(what);
  holdfast::TextLine site;
  metal::print_line(site.text(" (").text(file).text(":").number(line).text(")").view());
  metal::exit_machine(metal::ExitCode::Panic);
}
