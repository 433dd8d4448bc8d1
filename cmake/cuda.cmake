# CUDA's compiler, where it is installed: CUDA 13, as LibTorch's wheel is built with. Without it coeus
# is built whole but for its CUDA part.
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  # Each target names its own.
  set(CMAKE_CUDA_ARCHITECTURES OFF)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
endif()
if(CMAKE_CUDA_COMPILER AND CUDAToolkit_VERSION VERSION_GREATER_EQUAL 13)
  set(COEUS_CUDA ON)
  message(STATUS "CUDA ${CUDAToolkit_VERSION}: building coeus's CUDA part")
else()
  set(COEUS_CUDA OFF)
  message(STATUS "No CUDA 13 compiler: coeus is built without its CUDA part")
endif()
