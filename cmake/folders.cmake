# One function per kind of target, so that a folder's CMakeLists.txt is a line or two.

# What all targets are built with. Those who link an installed coeus get the headers, the language and
# the sanitizers of it; warnings are their own matter.
add_library(coeus_options INTERFACE)
target_compile_features(coeus_options INTERFACE cxx_std_20)
# -fPIC for programs too: a precompiled header serves only those compiled alike.
target_compile_options(coeus_options INTERFACE $<BUILD_INTERFACE:-fPIC>)
target_include_directories(coeus_options INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src>
                                                   $<INSTALL_INTERFACE:include>)
target_compile_options(coeus_options INTERFACE
  "$<BUILD_INTERFACE:-Wall;-Wextra;-Wno-missing-field-initializers>"
  # g++ 12 reports overlaps and overruns in std::string concatenation that cannot happen (GCC bugs
  # 105651 and 105329).
  $<BUILD_INTERFACE:$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>>
  $<BUILD_INTERFACE:$<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds>>)
if(COEUS_WERROR)
  target_compile_options(coeus_options INTERFACE $<BUILD_INTERFACE:-Werror>)
endif()
if(COEUS_SANITIZE)
  target_compile_options(coeus_options INTERFACE -fsanitize=${COEUS_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(coeus_options INTERFACE -fsanitize=${COEUS_SANITIZE})
endif()
target_compile_definitions(coeus_options INTERFACE
  $<BUILD_INTERFACE:COEUS_VERSION="${PROJECT_VERSION}">)

# coeus_define_where_used(FILES file ... DEFINE name=value USERS regex): defines what names a place of this
# checkout only for the files whose text matches, so that ccache serves all others in any checkout.
function(coeus_define_where_used)
  cmake_parse_arguments(arg "" "DEFINE;USERS" "FILES" ${ARGN})
  foreach(file ${arg_FILES})
    file(STRINGS ${file} uses REGEX ${arg_USERS} LIMIT_COUNT 1)
    if(uses)
      set_property(SOURCE ${file} APPEND PROPERTY COMPILE_DEFINITIONS ${arg_DEFINE})
    endif()
  endforeach()
endfunction()

# COEUS_SOURCE_DIR for the files of tests and benchmarks that read the checkout.
function(coeus_define_source_dir)
  coeus_define_where_used(FILES ${ARGN} DEFINE COEUS_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                          USERS "COEUS_SOURCE_DIR|golden_files_test.h")
endfunction()

# Code that sees LibTorch's headers arranges calls of it; what loops over values is in base, mask, data
# and kernels, without those headers and under -O3. So -O1 there takes nothing from a run's speed, and
# half of the time from a build.
set(COEUS_TORCH_OPTIMIZATION $<$<CONFIG:Release>:-O1>)

# LibTorch's headers take 17 s to parse and 3 s precompiled; this target holds them once. torch/torch.h
# would be 2 s more in every file.
add_library(coeus_torch_pch OBJECT ${CMAKE_SOURCE_DIR}/cmake/torch_pch.cpp)
target_compile_options(coeus_torch_pch PRIVATE ${COEUS_TORCH_OPTIMIZATION})
target_link_libraries(coeus_torch_pch PUBLIC coeus_options coeus_torch fmt::fmt spdlog::spdlog
                                             nlohmann_json::nlohmann_json)
target_precompile_headers(coeus_torch_pch PRIVATE <torch/csrc/autograd/custom_function.h>
                                                  <torch/nn/module.h> <torch/types.h>
                                                  <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp>)

function(coeus_use_torch target)
  target_link_libraries(${target} PUBLIC coeus_torch fmt::fmt spdlog::spdlog
                                         nlohmann_json::nlohmann_json)
  target_compile_options(${target} PRIVATE ${COEUS_TORCH_OPTIMIZATION})
  target_precompile_headers(${target} REUSE_FROM coeus_torch_pch)
endfunction()

# coeus_run_loops_in_threads(file ...): OpenMP for the files that include ops/parallel_for.h. The precompiled
# header is compiled without it, so they do without the header.
function(coeus_run_loops_in_threads)
  foreach(file ${ARGN})
    file(STRINGS ${file} uses REGEX "ops/parallel_for.h" LIMIT_COUNT 1)
    if(uses)
      set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS -fopenmp SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endforeach()
endfunction()

# coeus_folder(NAME [TORCH] [LINK target ...]): the library coeus_NAME of this folder's *.cpp (and
# those of its subfolders that have no CMakeLists.txt of their own), and, from its *_test.cpp, the
# test program coeus_NAME_test.
function(coeus_folder name)
  cmake_parse_arguments(arg "TORCH" "" "LINK;TEST_LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS *.cpp)
  file(GLOB own_lists CONFIGURE_DEPENDS */CMakeLists.txt)
  foreach(own_list ${own_lists})
    get_filename_component(subfolder ${own_list} DIRECTORY)
    list(FILTER sources EXCLUDE REGEX "^${subfolder}/")
  endforeach()
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  if(NOT sources)
    add_library(coeus_${name} INTERFACE)
    target_link_libraries(coeus_${name} INTERFACE coeus_options ${arg_LINK})
    return()
  endif()
  add_library(coeus_${name} STATIC ${sources})
  target_link_libraries(coeus_${name} PUBLIC coeus_options ${arg_LINK})
  if(arg_TORCH)
    coeus_use_torch(coeus_${name})
    coeus_run_loops_in_threads(${sources})
  endif()
  if(tests)
    add_executable(coeus_${name}_test ${tests})
    coeus_define_source_dir(${tests})
    target_link_libraries(coeus_${name}_test PRIVATE coeus_${name} ${arg_TEST_LINK} GTest::gmock
                                                     GTest::gtest GTest::gtest_main)
    if(arg_TORCH)
      coeus_use_torch(coeus_${name}_test)
      coeus_run_loops_in_threads(${tests})
    endif()
    coeus_discover_tests(coeus_${name}_test)
  endif()
endfunction()

# Every gtest case becomes a CTest case of its own; `ctest -R name` runs one.
function(coeus_discover_tests target)
  include(GoogleTest)
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       PROPERTIES TIMEOUT 1200)
endfunction()

# coeus_cuda_test(NAME program FILTER): tests of a test program once more, on a GPU (./test.sh cuda);
# skipped where there is none.
function(coeus_cuda_test name program filter)
  add_test(NAME ${name} COMMAND ${program} --gtest_brief=1 --gtest_filter=${filter})
  set_tests_properties(${name} PROPERTIES
    LABELS cuda TIMEOUT 1800 SKIP_REGULAR_EXPRESSION "no CUDA here"
    ENVIRONMENT "COEUS_TEST_DEVICE=cuda;COEUS_SHARE_GPUS=1;COEUS_CUDA_LIBRARY=${CMAKE_BINARY_DIR}/libcoeus_cuda.so")
endfunction()
