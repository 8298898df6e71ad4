// The whole command line of `holdfast`, from argv to exit code.
#pragma once

namespace cli {

int run_command_line(int argc, char** argv);

}  // namespace cli
