# holdfast_core_module(NAME DEPENDS module... LIBRARIES lib...)
#
# One module of the library, built twice: hf_NAME (plain) and hf_NAME_traced (every hw_store and register access calls
# the world's step hook). Both are freestanding C++: no exceptions, no RTTI, nothing of an operating system.
# Sources are holdfast/NAME/**/*.cpp; *_test.cpp become the program NAME_test, linked with the traced build.
# A module DEPENDS on modules, transitively; its tests may also use the machine model (TEST_LIBRARIES).
function(holdfast_core_module name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/holdfast/${name}/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz|bench)\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
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
    target_compile_definitions(${library} ${scope} HOLDFAST_TRACED=$<IF:$<STREQUAL:${variant},>,0,1>)
  endforeach()
  if(HOLDFAST_TESTS AND tests)
    holdfast_test(${name}_test SOURCES ${tests} LIBRARIES hf_${name}_traced)
  endif()
endfunction()
