# Flags every target is built with: warnings, as errors where the project itself is built, the chosen sanitizers,
# and what fuzzing needs.
set(as_errors -Werror)
if(HOLDFAST_LIBRARY_ONLY)  # a compiler that its users bring may warn of more
  set(as_errors "")
endif()
add_compile_options(-Wall -Wextra -Wpedantic -Wconversion -Wshadow ${as_errors} -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options(-Wthread-safety)
endif()
if(HOLDFAST_SANITIZE)
  # No vptr check: the library has no RTTI for it to read.
  add_compile_options(-fsanitize=${HOLDFAST_SANITIZE} -fno-sanitize-recover=all -fno-sanitize=vptr)
  add_link_options(-fsanitize=${HOLDFAST_SANITIZE})
endif()
if(HOLDFAST_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(HOLDFAST_COVERAGE)
  add_compile_options(-fprofile-instr-generate -fcoverage-mapping)
  add_link_options(-fprofile-instr-generate)
endif()
include_directories(${CMAKE_SOURCE_DIR})
