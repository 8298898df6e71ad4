// The functions of tools/core_symbols.txt, all of them and no other: what a program without a C library must supply.
//
// Copies and fills are the processor's string instructions; the rest is plain. Contracts as in the C standard; abort
// and a smashed stack stop the program at once. The bare-metal kernel and tests/freestanding link it.
#include <cstddef>

namespace {

using Byte = unsigned char;

// Word by word: an emulator takes as long for a byte as for a word.
constexpr std::size_t word_bytes = 8;

int compare(Byte a, Byte b) { return int{a} - int{b}; }

}  // namespace

extern "C" {

[[noreturn]] void abort() { __builtin_trap(); }
[[noreturn]] void __stack_chk_fail() { __builtin_trap(); }

void* memcpy(void* to, const void* from, std::size_t count) {
  void* const start = to;
  std::size_t words = count / word_bytes;
  std::size_t rest = count % word_bytes;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(rest) : : "memory");
  return start;
}

void* memmove(void* to, const void* from, std::size_t count) {
  if (static_cast<Byte*>(to) <= static_cast<const Byte*>(from)) return memcpy(to, from, count);
  for (std::size_t i = count; i-- > 0;) static_cast<Byte*>(to)[i] = static_cast<const Byte*>(from)[i];
  return to;
}

void* memset(void* to, int value, std::size_t count) {
  void* const start = to;
  const std::size_t pattern = static_cast<Byte>(value) * (~std::size_t{0} / 0xff);
  std::size_t words = count / word_bytes;
  std::size_t rest = count % word_bytes;
  asm volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
  asm volatile("rep stosb" : "+D"(to), "+c"(rest) : "a"(pattern) : "memory");
  return start;
}

int memcmp(const void* one, const void* other, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (int order = compare(static_cast<const Byte*>(one)[i], static_cast<const Byte*>(other)[i]); order != 0)
      return order;
  return 0;
}

void* memchr(const void* in, int value, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (const Byte* at = static_cast<const Byte*>(in) + i; *at == static_cast<Byte>(value))
      return const_cast<Byte*>(at);
  return nullptr;
}

std::size_t strnlen(const char* text, std::size_t limit) {
  std::size_t length = 0;
  while (length < limit && text[length] != '\0') ++length;
  return length;
}

std::size_t strlen(const char* text) { return strnlen(text, static_cast<std::size_t>(-1)); }

char* strrchr(const char* text, int value) {
  for (std::size_t i = strlen(text) + 1; i-- > 0;)
    if (text[i] == static_cast<char>(value)) return const_cast<char*>(text + i);
  return nullptr;
}
}
