// The `holdfast` command.
#include "cli/command_line.hpp"

int main(int argc, char** argv) { return cli::run_command_line(argc, argv); }
