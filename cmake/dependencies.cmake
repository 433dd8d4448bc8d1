# What coeus links. Everything but LibTorch comes from the system's packages (tools/setup.sh installs
# them); LibTorch comes from PyPI's torch wheel, unpacked into .deps/python of the checkout.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc i18n)
find_package(ZLIB REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(turbojpeg REQUIRED IMPORTED_TARGET libturbojpeg)

# find_package(Torch) of a CUDA wheel asks for a whole CUDA toolkit, so the two libraries that are
# needed are named here. Only torch_cpu is linked: the same binary runs with and without a GPU.
set(COEUS_TORCH_ROOT ${CMAKE_SOURCE_DIR}/.deps/python/torch CACHE PATH "The unpacked torch wheel")
if(NOT EXISTS ${COEUS_TORCH_ROOT}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch is not in ${COEUS_TORCH_ROOT}: run ./run.sh build, which fetches it, "
                      "or set COEUS_TORCH_ROOT")
endif()
add_library(coeus_torch INTERFACE)
# -idirafter: the wheel ships its own fmt, which must not hide the system's.
target_compile_options(coeus_torch INTERFACE
  "SHELL:-idirafter \"${COEUS_TORCH_ROOT}/include\""
  "SHELL:-idirafter \"${COEUS_TORCH_ROOT}/include/torch/csrc/api/include\"")
target_link_libraries(coeus_torch INTERFACE
  ${COEUS_TORCH_ROOT}/lib/libtorch_cpu.so ${COEUS_TORCH_ROOT}/lib/libc10.so)
# The wheel's libraries find CUDA's runtime stubs in their sibling wheels by their own run path.
target_link_options(coeus_torch INTERFACE
  -Wl,--allow-shlib-undefined -Wl,-rpath,${COEUS_TORCH_ROOT}/lib)
