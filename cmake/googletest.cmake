# GoogleTest from Debian's source package, built with our flags so that sanitizers see through it.
if(NOT EXISTS /usr/src/googletest/CMakeLists.txt)
  message(FATAL_ERROR "GoogleTest's sources are not in /usr/src/googletest: run ./dev setup (Debian package googletest)")
endif()
set(INSTALL_GTEST OFF CACHE BOOL "" FORCE)
set(BUILD_GMOCK ON CACHE BOOL "" FORCE)
add_subdirectory(/usr/src/googletest ${CMAKE_BINARY_DIR}/googletest EXCLUDE_FROM_ALL SYSTEM)
foreach(target gtest gtest_main gmock gmock_main)
  target_compile_options(${target} PRIVATE -w)
endforeach()

# holdfast_test(NAME SOURCES file... LIBRARIES lib... [THREADS] [SERIAL] [TIMEOUT seconds])
#
# One test program. Its cases are run in two or more processes at once, each a share of them; SERIAL: all in one
# process while nothing else runs (tests that measure). THREADS, or a name that ends in _thread_test: it also runs under
# ThreadSanitizer. TIMEOUT is that of one process.
function(holdfast_test name)
  cmake_parse_arguments(ARG "THREADS;SERIAL" "TIMEOUT" "SOURCES;LIBRARIES" ${ARGN})
  set(properties "")
  foreach(flag THREADS SERIAL)
    if(ARG_${flag})
      list(APPEND properties ${flag})
    endif()
  endforeach()
  if(ARG_TIMEOUT)
    list(APPEND properties TIMEOUT ${ARG_TIMEOUT})
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gtest_main GTest::gmock)
  holdfast_register(test ${name} ${properties} COMMAND $<TARGET_FILE:${name}>)
endfunction()
