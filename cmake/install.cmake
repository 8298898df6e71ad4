# What `cmake --install` puts below its prefix: the library alone, for programs that are built elsewhere.
#
#   include/holdfast/   headers of the modules, without those that only tests use
#   include/uapi/       plain C headers of the user boundary, without those of its test
#   lib/                libholdfast_MODULE.a: the plain build of each module that has sources
#   lib/cmake/holdfast/ find_package(holdfast [COMPONENTS module...])
#   lib/pkgconfig/      holdfast.pc, holdfast-pt.pc (page tables, vector kernels and what they need), holdfast-uapi.pc
#                       (headers alone)
#
# Imported targets: holdfast::MODULE for each module, with all it depends on; holdfast::holdfast for all of them;
# holdfast::uapi. Nothing installed names a folder of the source or build tree, or the prefix: it may be moved.
#
#   cmake -B build -DHOLDFAST_LIBRARY_ONLY=ON && cmake --build build && cmake --install build --prefix DIR
#
# does without what only tests and programs need. In a full build the target `core` is what is installed.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Headers of tests inside the library's folders; tests/install/ sees that none of them is installed.
set(HOLDFAST_TEST_HEADERS "/(test_[^/]*|[^/]*_fixture|[^/]*_sample|spies)\\.hpp$")

# holdfast_install_module(NAME): the plain library hf_NAME becomes holdfast::NAME.
function(holdfast_install_module name)
  set(library hf_${name})
  get_target_property(kind ${library} TYPE)
  set(scope PUBLIC)
  if(kind STREQUAL "INTERFACE_LIBRARY")
    set(scope INTERFACE)
  endif()
  target_compile_features(${library} ${scope} cxx_std_23)
  target_include_directories(${library} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_definitions(${library} INTERFACE $<INSTALL_INTERFACE:HOLDFAST_CHECK_LOCKS=${HOLDFAST_CHECKS_LOCKS}>)
  set_target_properties(${library} PROPERTIES EXPORT_NAME ${name} OUTPUT_NAME holdfast_${name})
  add_library(holdfast::${name} ALIAS ${library})
  install(TARGETS ${library} EXPORT holdfast ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()

# holdfast_modules_below(OUT MODULE...): those modules and all they depend on, users before what they use.
function(holdfast_modules_below out)
  get_property(modules GLOBAL PROPERTY HOLDFAST_CORE_MODULES)
  list(REVERSE modules)
  set(wanted ${ARGN})
  set(found "")
  foreach(module ${modules})
    if(module IN_LIST wanted)
      list(APPEND found ${module})
      get_property(depends GLOBAL PROPERTY HOLDFAST_DEPENDS_${module})
      list(APPEND wanted ${depends})
    endif()
  endforeach()
  set(${out} ${found} PARENT_SCOPE)
endfunction()

# holdfast_install_pkgconfig(NAME DESCRIPTION text REQUIRES package... MODULES module... CFLAGS flag...)
function(holdfast_install_pkgconfig name)
  cmake_parse_arguments(ARG "" "DESCRIPTION" "REQUIRES;MODULES;CFLAGS" ${ARGN})
  set(libraries "")
  set(others "")
  foreach(module ${ARG_MODULES})
    get_target_property(kind hf_${module} TYPE)
    if(kind STREQUAL "STATIC_LIBRARY")
      string(APPEND libraries " -lholdfast_${module}")
    endif()
    get_property(outside GLOBAL PROPERTY HOLDFAST_LIBRARIES_${module})
    foreach(library ${outside})
      string(APPEND others " -l${library}")  # after every module that may use it
    endforeach()
  endforeach()
  if(libraries OR others)
    set(libraries "Libs: -L\${libdir}${libraries}${others}\n")
  endif()
  file(RELATIVE_PATH up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
  string(REGEX REPLACE "/$" "" up ${up})
  list(JOIN ARG_CFLAGS " " cflags)
  list(JOIN ARG_REQUIRES ", " requires)
  if(requires)
    set(requires "Requires: ${requires}\n")
  endif()
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/install/${name}.pc @ONLY CONTENT
"prefix=\${pcfiledir}/${up}
includedir=\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}
libdir=\${prefix}/${CMAKE_INSTALL_LIBDIR}

Name: ${name}
Description: ${ARG_DESCRIPTION}
Version: ${PROJECT_VERSION}
${requires}Cflags: ${cflags}
${libraries}")
  install(FILES ${CMAKE_BINARY_DIR}/install/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

# Inline functions of the headers check the order of locks unless NDEBUG is defined; a program must do as the archives.
function(holdfast_find_lock_checks out)
  string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
  set(${out} 1 PARENT_SCOPE)
  if("${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${type}}" MATCHES "-DNDEBUG")
    set(${out} 0 PARENT_SCOPE)
  endif()
endfunction()

# The targets that have no module of their own, and `core`.
function(holdfast_install_targets)
  get_property(modules GLOBAL PROPERTY HOLDFAST_CORE_MODULES)
  add_library(hf_everything INTERFACE)
  set_target_properties(hf_everything PROPERTIES EXPORT_NAME holdfast)
  add_library(holdfast::holdfast ALIAS hf_everything)
  add_library(hf_uapi INTERFACE)
  set_target_properties(hf_uapi PROPERTIES EXPORT_NAME uapi)
  target_include_directories(hf_uapi INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/uapi>
                                               $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/uapi>)
  add_library(holdfast::uapi ALIAS hf_uapi)
  foreach(module ${modules})
    holdfast_install_module(${module})
    target_link_libraries(hf_everything INTERFACE hf_${module})
  endforeach()
  get_property(archives GLOBAL PROPERTY HOLDFAST_CORE_LIBRARIES)
  add_custom_target(core DEPENDS ${archives})
endfunction()

function(holdfast_install_files)
  install(TARGETS hf_everything hf_uapi EXPORT holdfast)
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/holdfast DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
          FILES_MATCHING REGEX "\\.hpp$" REGEX "${HOLDFAST_TEST_HEADERS}" EXCLUDE)
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/uapi/holdfast DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/uapi
          FILES_MATCHING PATTERN "*.h")
  install(FILES ${CMAKE_SOURCE_DIR}/LICENSE ${CMAKE_SOURCE_DIR}/NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})

  set(package ${CMAKE_INSTALL_LIBDIR}/cmake/holdfast)
  install(EXPORT holdfast DESTINATION ${package} NAMESPACE holdfast:: FILE holdfastTargets.cmake)
  configure_package_config_file(${CMAKE_CURRENT_FUNCTION_LIST_DIR}/holdfastConfig.cmake.in
                                ${CMAKE_BINARY_DIR}/install/holdfastConfig.cmake INSTALL_DESTINATION ${package}
                                NO_SET_AND_CHECK_MACRO)
  # Before 1.0 the second number is the one that breaks: docs/versions.md.
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/install/holdfastConfigVersion.cmake
                                   COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/install/holdfastConfig.cmake ${CMAKE_BINARY_DIR}/install/holdfastConfigVersion.cmake
          DESTINATION ${package})
endfunction()

# holdfast.pc stands on holdfast-pt.pc: a package's own libraries come before those of the packages that it requires.
function(holdfast_install_packages)
  get_property(modules GLOBAL PROPERTY HOLDFAST_CORE_MODULES)
  set(cflags -I\${includedir} -DHOLDFAST_TRACED=0 -DHOLDFAST_CHECK_LOCKS=${HOLDFAST_CHECKS_LOCKS})
  holdfast_modules_below(page_tables pt vector)
  holdfast_modules_below(others ${modules})
  list(REMOVE_ITEM others ${page_tables})
  holdfast_install_pkgconfig(holdfast-pt DESCRIPTION "IOMMU page tables, freestanding C++23" MODULES ${page_tables}
                             CFLAGS ${cflags})
  holdfast_install_pkgconfig(holdfast DESCRIPTION "Preserves IOMMU state across a kexec, freestanding C++23"
                             REQUIRES "holdfast-pt = ${PROJECT_VERSION}" MODULES ${others} CFLAGS ${cflags})
  holdfast_install_pkgconfig(holdfast-uapi DESCRIPTION "What user space of a Holdfast kernel includes"
                             CFLAGS -I\${includedir}/uapi)
endfunction()

# Once, after the last module.
function(holdfast_install)
  holdfast_find_lock_checks(HOLDFAST_CHECKS_LOCKS)
  holdfast_install_targets()
  holdfast_install_files()
  holdfast_install_packages()
endfunction()
