# The target coeus_torch from the unpacked wheel in COEUS_TORCH_ROOT: for coeus's own build and, beside
# coeusConfig.cmake, for those who link what it has installed.
#
# find_package(Torch) of a CUDA wheel asks for a whole CUDA toolkit, so the two libraries that are
# needed are named here. Only torch_cpu is linked: the same binary runs with and without a GPU.
if(NOT TARGET coeus_torch)
  # Imported, so that an export only names it.
  add_library(coeus_torch INTERFACE IMPORTED)
  # -idirafter: the wheel ships its own fmt, which must not hide the system's.
  target_compile_options(coeus_torch INTERFACE
    "SHELL:-idirafter \"${COEUS_TORCH_ROOT}/include\""
    "SHELL:-idirafter \"${COEUS_TORCH_ROOT}/include/torch/csrc/api/include\"")
  target_link_libraries(coeus_torch INTERFACE
    ${COEUS_TORCH_ROOT}/lib/libtorch_cpu.so ${COEUS_TORCH_ROOT}/lib/libc10.so)
  # OpenMP's threads are LibTorch's own: a second runtime would start as many again.
  file(GLOB coeus_openmp ${COEUS_TORCH_ROOT}/lib/libgomp*.so* ${COEUS_TORCH_ROOT}/../torch.libs/libgomp*.so*)
  if(NOT coeus_openmp)
    set(coeus_openmp gomp)
  endif()
  target_link_libraries(coeus_torch INTERFACE ${coeus_openmp})
  # The wheel's libraries find CUDA's runtime stubs in their sibling wheels by their own run path.
  target_link_options(coeus_torch INTERFACE
    -Wl,--allow-shlib-undefined -Wl,-rpath,${COEUS_TORCH_ROOT}/lib)
endif()
