# What coeus links. Everything but LibTorch comes from the system's packages (tools/setup.sh installs
# them); LibTorch comes from PyPI's torch wheel, unpacked into .deps/python of the checkout. What a
# library links, and not only a program or test, coeusConfig.cmake.in finds too.
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

set(COEUS_TORCH_ROOT ${CMAKE_SOURCE_DIR}/.deps/python/torch CACHE PATH "The unpacked torch wheel")
if(NOT EXISTS ${COEUS_TORCH_ROOT}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch is not in ${COEUS_TORCH_ROOT}: run ./run.sh build, which fetches it, "
                      "or set COEUS_TORCH_ROOT")
endif()
include(libtorch)
