# What ./dev runs: test programs, checks, fuzzers, benchmarks. Each is registered here once; the list is written to
# <build>/programs.tsv, one line per program, fields separated by tabs:
#
#   kind (test, check, fuzzer, bench)  name  labels (threads,serial)  timeout in seconds  acceptance ids  command...
#
# tools/run_tests.py reads that list; `ctest` knows the tests and checks as well.
if(HOLDFAST_TESTS)
  find_package(Python3 COMPONENTS Interpreter REQUIRED)  # most checks are Python: ${Python3_EXECUTABLE}
endif()

function(holdfast_register kind name)
  cmake_parse_arguments(ARG "THREADS;SERIAL" "TIMEOUT" "ACCEPTANCE;COMMAND" ${ARGN})
  set(labels "")
  if(ARG_THREADS OR name MATCHES "_thread_test$")
    list(APPEND labels threads)
  endif()
  if(ARG_SERIAL)
    list(APPEND labels serial)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  list(JOIN labels "," labels)
  list(JOIN ARG_ACCEPTANCE " " acceptance)
  list(JOIN ARG_COMMAND "\t" command)
  get_property(names GLOBAL PROPERTY HOLDFAST_PROGRAM_NAMES)
  if(name IN_LIST names)
    message(FATAL_ERROR "two programs are called ${name}")
  endif()
  set_property(GLOBAL APPEND PROPERTY HOLDFAST_PROGRAM_NAMES ${name})
  set_property(GLOBAL APPEND_STRING PROPERTY HOLDFAST_PROGRAMS
               "${kind}\t${name}\t${labels}\t${ARG_TIMEOUT}\t${acceptance}\t${command}\n")
  if(kind STREQUAL "test" OR kind STREQUAL "check")
    add_test(NAME ${name} COMMAND ${ARG_COMMAND})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} SKIP_RETURN_CODE 77 RUN_SERIAL ${ARG_SERIAL})
  endif()
endfunction()

# holdfast_check(NAME COMMAND program argument... [ACCEPTANCE id...] [TIMEOUT seconds] [SERIAL])
#
# A check that is not a GoogleTest program: exit code 0 passes, 77 skips, all others fail. Generator expressions
# ($<TARGET_FILE:holdfast>) are welcome. It runs in every preset that registers it.
function(holdfast_check name)
  holdfast_register(check ${name} ${ARGN})
endfunction()

# holdfast_fuzzer(NAME SOURCES file... LIBRARIES lib... COVERS file...)
#
# A libFuzzer program (LLVMFuzzerTestOneInput). It is listed everywhere and built by the presets fuzz and coverage only.
# Seeds lie in fuzz/corpus/NAME/. COVERS names the sources, from the root, of which the seeds alone must reach 90 % of
# the lines; more of them may stand in the fuzzer's own sources, at the beginning of a line: "// COVERS file...".
# <build>/covers.tsv lists them, one line per fuzzer: name, then files, separated by tabs.
function(holdfast_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES;COVERS" ${ARGN})
  foreach(source ${ARG_SOURCES})
    cmake_path(ABSOLUTE_PATH source)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
    file(STRINGS ${source} lines REGEX "^// COVERS ")
    foreach(line ${lines})
      string(REGEX MATCHALL "[^ ]+/[^ ]+" files "${line}")
      list(FILTER files EXCLUDE REGEX "^//$")
      list(APPEND ARG_COVERS ${files})
    endforeach()
  endforeach()
  foreach(file ${ARG_COVERS})
    if(NOT EXISTS ${CMAKE_SOURCE_DIR}/${file})
      message(FATAL_ERROR "the fuzzer ${name} covers ${file}, which does not exist")
    endif()
  endforeach()
  list(JOIN ARG_COVERS "\t" covers)
  set_property(GLOBAL APPEND_STRING PROPERTY HOLDFAST_COVERS "${name}\t${covers}\n")
  if(NOT HOLDFAST_FUZZ)
    holdfast_register(fuzzer ${name})
    return()
  endif()
  add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  holdfast_register(fuzzer ${name} COMMAND $<TARGET_FILE:${name}>)
endfunction()

# holdfast_bench(NAME SOURCES file... LIBRARIES lib...)
#
# A Google Benchmark program; `./dev bench` builds and runs it. Each of its benchmarks is a row: it reports the counters
# ns, yardstick_ns and target, and its label names the yardstick (tests/bench/row.hpp, tools/run_benchmarks.py).
function(holdfast_bench name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  find_package(benchmark QUIET)
  if(NOT benchmark_FOUND)
    message(FATAL_ERROR "Google Benchmark is not installed: run ./dev setup (Debian package libbenchmark-dev)")
  endif()
  add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} benchmark::benchmark_main)
  holdfast_register(bench ${name} COMMAND $<TARGET_FILE:${name}>)
endfunction()

function(holdfast_write_programs)
  get_property(programs GLOBAL PROPERTY HOLDFAST_PROGRAMS)
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/programs.tsv CONTENT "${programs}")
  get_property(covers GLOBAL PROPERTY HOLDFAST_COVERS)
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/covers.tsv CONTENT "${covers}")
endfunction()
cmake_language(DEFER DIRECTORY ${CMAKE_SOURCE_DIR} CALL holdfast_write_programs)
