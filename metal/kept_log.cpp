#include "metal/kept_log.hpp"

#include <algorithm>
#include <span>

#include "holdfast/base/text_line.hpp"
#include "metal/console.hpp"

namespace metal {
namespace {

std::span<char> log_space() {
  return {reinterpret_cast<char*>(boot_page_address.value + page_size_bytes), log_pages * page_size_bytes};
}

}  // namespace

void keep_log(std::string_view line) {
  BootPage& page = boot_page();
  const std::span<char> space = log_space();
  for (const char c : line) {
    if (page.log_bytes < space.size())
      space[page.log_bytes++] = c;
    else
      ++page.log_lost_bytes;
  }
}

void print_kept_log() {
  BootPage& page = boot_page();
  if (page.magic != boot_page_magic || page.version != boot_page_version) return;
  const std::string_view kept(log_space().data(), std::min<u64>(page.log_bytes, log_space().size()));
  const u64 lost = page.log_lost_bytes;
  page.log_bytes = page.log_lost_bytes = 0;  // first: an exception in here must not come here again and again
  print(kept);
  if (lost == 0) return;
  TextLine line;
  print_line(
      line.text("\nkernel: ").number(lost).text(" bytes of log are lost").view());  // what is kept ends within a line
}

}  // namespace metal
