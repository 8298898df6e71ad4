# holdfast_core_module(NAME DEPENDS module... LIBRARIES lib... BENCH_LIBRARIES lib...)
#
# One module of the library, built twice: hf_NAME (plain) and hf_NAME_traced (every hw_store and register access calls
# the world's step hook). Both are freestanding C++: no exceptions, no RTTI, nothing of an operating system.
# A module DEPENDS on modules, transitively. Sources are holdfast/NAME/**/*.cpp, sorted by how their names end:
#
#   *_test.cpp         the program NAME_test, linked with the traced build
#   *_thread_test.cpp  the program NAME_thread_test, which also runs under ThreadSanitizer
#   *_fuzz.cpp         one fuzzer each, linked with the plain build
#   *_bench.cpp        the program NAME_bench, linked with the plain build and BENCH_LIBRARIES
#   all others         the library
#
# The modules are listed in the global property HOLDFAST_CORE_MODULES, the plain libraries that have sources in
# HOLDFAST_CORE_LIBRARIES; HOLDFAST_DEPENDS_NAME and HOLDFAST_LIBRARIES_NAME keep the arguments for install.cmake.
function(holdfast_core_module name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBRARIES;BENCH_LIBRARIES" ${ARGN})
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/holdfast/${name}/*.cpp)
  set(sources ${files})
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz|bench)\\.cpp$")

  foreach(variant "" "_traced")
    set(library hf_${name}${variant})
    if(sources)
      add_library(${library} STATIC ${sources})
      set(scope PUBLIC)
      target_compile_options(${library} PRIVATE -ffreestanding -fno-exceptions -fno-rtti -fno-threadsafe-statics
                             -fvisibility=hidden -fno-stack-protector)
    else()
      add_library(${library} INTERFACE)
      set(scope INTERFACE)
    endif()
    foreach(dependency ${ARG_DEPENDS})
      target_link_libraries(${library} ${scope} hf_${dependency}${variant})
    endforeach()
    target_link_libraries(${library} ${scope} ${ARG_LIBRARIES})
    set(traced 0)
    if(variant)
      set(traced 1)
    endif()
    target_compile_definitions(${library} ${scope} HOLDFAST_TRACED=${traced})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY HOLDFAST_CORE_MODULES ${name})
  set_property(GLOBAL PROPERTY HOLDFAST_DEPENDS_${name} ${ARG_DEPENDS})
  set_property(GLOBAL PROPERTY HOLDFAST_LIBRARIES_${name} ${ARG_LIBRARIES})
  if(sources)
    set_property(GLOBAL APPEND PROPERTY HOLDFAST_CORE_LIBRARIES hf_${name})
  endif()

  if(HOLDFAST_TESTS)
    holdfast_module_programs(${name} "${files}" "${ARG_BENCH_LIBRARIES}")
  endif()
endfunction()

function(holdfast_module_programs name files bench_libraries)
  set(tests ${files})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  set(thread_tests ${tests})
  list(FILTER tests EXCLUDE REGEX "_thread_test\\.cpp$")
  list(FILTER thread_tests INCLUDE REGEX "_thread_test\\.cpp$")
  if(tests)
    holdfast_test(${name}_test SOURCES ${tests} LIBRARIES hf_${name}_traced)
  endif()
  if(thread_tests)
    holdfast_test(${name}_thread_test SOURCES ${thread_tests} LIBRARIES hf_${name}_traced)
  endif()

  list(FILTER files INCLUDE REGEX "_(fuzz|bench)\\.cpp$")
  set(benches ${files})
  list(FILTER benches INCLUDE REGEX "_bench\\.cpp$")
  list(FILTER files INCLUDE REGEX "_fuzz\\.cpp$")
  foreach(source ${files})
    cmake_path(GET source STEM fuzzer)
    holdfast_fuzzer(${fuzzer} SOURCES ${source} LIBRARIES hf_${name})
  endforeach()
  if(benches)
    holdfast_bench(${name}_bench SOURCES ${benches} LIBRARIES hf_${name} ${bench_libraries})
  endif()
endfunction()
