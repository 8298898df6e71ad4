// What a run needs, and what is refused before anything is started.
#include "host/run_options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/run_error.hpp"

namespace host {
namespace {

using ::testing::HasSubstr;

RunError refusal_of(const RunOptions& options) {
  try {
    check_options(options);
  } catch (const RunError& error) {
    return error;
  }
  ADD_FAILURE() << "the options were accepted";
  return RunError(ExitCode::Ok, "");
}

TEST(RunOptions, DefaultsNeedNoMoreThanTheDefaultRam) {
  const RunOptions options;
  EXPECT_LT(needed_ram_bytes(options), options.ram_bytes);
  EXPECT_NO_THROW(check_options(options));
}

TEST(RunOptions, GuestMemoryIsAPowerOfTwoThatDividesTheMapping) {
  for (u64 mapped : {u64{4096}, u64{12288}, u64{100} << 20, u64{256} << 20, u64{1} << 40}) {
    RunOptions options;
    options.mapped_bytes = mapped;
    const u64 guest = guest_memory_bytes(options);
    EXPECT_EQ(guest & (guest - 1), 0u);
    EXPECT_EQ(mapped % guest, 0u);
    EXPECT_LE(guest, options.ram_bytes / 8);
  }
}

TEST(RunOptions, TooLittleRamIsRefusedWithWhatIsNeeded) {
  RunOptions options;
  options.ram_bytes = u64{128} << 20;
  options.mapped_bytes = u64{64} << 30;
  const RunError error = refusal_of(options);
  EXPECT_EQ(error.code(), ExitCode::Usage);
  EXPECT_THAT(error.what(), HasSubstr("128 MiB"));
  EXPECT_THAT(error.what_next(), HasSubstr("--ram"));
}

TEST(RunOptions, MoreMemoryThanThisComputerHasIsRefused) {
  RunOptions options;
  options.ram_bytes = u64{1} << 40;
  options.mapped_bytes = u64{16} << 40;
  const RunError error = refusal_of(options);
  EXPECT_EQ(error.code(), ExitCode::InputMissing);
  EXPECT_THAT(error.what(), HasSubstr("this computer"));
}

TEST(RunOptions, SizesThatAreNoPagesAreRefused) {
  RunOptions options;
  options.mapped_bytes = 4097;
  EXPECT_EQ(refusal_of(options).code(), ExitCode::Usage);
  options = {};
  options.ram_bytes += 1;
  EXPECT_EQ(refusal_of(options).code(), ExitCode::Usage);
  options = {};
  options.devices = 17;
  EXPECT_EQ(refusal_of(options).code(), ExitCode::Usage);
  options = {};
  options.updates = 0;
  EXPECT_EQ(refusal_of(options).code(), ExitCode::Usage);
}

TEST(RunOptions, SizeTextIsShort) {
  EXPECT_EQ(size_text(0), "0 bytes");
  EXPECT_EQ(size_text(4096), "4 KiB");
  EXPECT_EQ(size_text(u64{3} << 29), "1.5 GiB");
}

}  // namespace
}  // namespace host
