// The functions of tools/core_symbols.txt, all of them and no other: what a program without a C library must supply.
//
// Plain and slow on purpose. Contracts as in the C standard; abort stops the program at once.
#include <cstddef>

extern "C" {

[[noreturn]] void abort() { __builtin_trap(); }
}
