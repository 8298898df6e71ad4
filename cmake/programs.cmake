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

# holdfast_fuzzer(NAME SOURCES file... LIBRARIES lib...)
#
# A libFuzzer program (LLVMFuzzerTestOneInput). It is listed everywhere and built by the fuzz preset only. Seeds, if
# any, lie in fuzz/corpus/NAME/.
function(holdfast_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  if(NOT HOLDFAST_FUZZ)
    holdfast_register(fuzzer ${name})
    return()
  endif()
  add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  holdfast_register(fuzzer ${name} COMMAND $<TARGET_FILE:${name}>)
endfunction()

# holdfast_bench(NAME SOURCES file... LIBRARIES lib...): a benchmark; `./dev bench` builds and runs it.
function(holdfast_bench name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES})
  holdfast_register(bench ${name} COMMAND $<TARGET_FILE:${name}>)
endfunction()

function(holdfast_write_programs)
  get_property(programs GLOBAL PROPERTY HOLDFAST_PROGRAMS)
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/programs.tsv CONTENT "${programs}")
endfunction()
cmake_language(DEFER DIRECTORY ${CMAKE_SOURCE_DIR} CALL holdfast_write_programs)
