#include "coeus/ops/cuda_library.h"

#include <dlfcn.h>
#include <link.h>
#include <torch/cuda.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/ops/device_attention.h"
#include "coeus/ops/fused_operations.h"

namespace coeus {

namespace {

namespace fs = std::filesystem;

const CudaLibrary* loaded = nullptr;

/// dlopen, whose complaint it gives when it fails.
void* open_library(const std::string& name, int flags, std::string& complaint) {
  void* const library = ::dlopen(name.c_str(), flags);
  if (library == nullptr) complaint = ::dlerror();
  return library;
}

/// The file that holds this code: the program, or a library that some other program has loaded.
fs::path own_file() {
  Dl_info info;
  link_map* file = nullptr;
  const int found = ::dladdr1(reinterpret_cast<const void*>(&own_file), &info,
                              reinterpret_cast<void**>(&file), RTLD_DL_LINKMAP);
  // The program itself has no name in the list of what is loaded.
  if (found != 0 && *file->l_name != '\0') return file->l_name;
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error);
}

/// Where libcoeus_cuda.so may lie.
std::vector<fs::path> own_library_paths() {
  if (const char* const path = std::getenv("COEUS_CUDA_LIBRARY")) return {path};
  const fs::path folder = own_file().parent_path();
  return {folder / "libcoeus_cuda.so", folder.parent_path() / "lib" / "libcoeus_cuda.so"};
}

std::string load() {
  std::string complaint;
  // First, because it is quick, and tells what most machines lack.
  if (open_library("libcuda.so.1", RTLD_NOW, complaint) == nullptr)
    return "this machine has no CUDA driver (" + complaint + ")";
  // Its allocator reads this when it is loaded: blocks that grow leave no gaps between tensors of
  // many sizes. As TorchTitan's script sets it.
  if (std::getenv("PYTORCH_ALLOC_CONF") == nullptr)
    ::setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True", /*replace=*/0);
  // Global: libcoeus_cuda.so finds its symbols there.
  if (open_library("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL, complaint) == nullptr)
    return "LibTorch's CUDA part does not load (" + complaint +
           "); set LD_LIBRARY_PATH to the folders of libtorch_cuda.so and of what it needs";
  if (!torch::cuda::is_available()) return "LibTorch finds no CUDA device";
  void* own = nullptr;
  for (const fs::path& path : own_library_paths())
    if (own == nullptr) own = open_library(path.string(), RTLD_NOW, complaint);
  if (own == nullptr)
    return "coeus's CUDA part does not load (" + complaint +
           "); build it where nvcc of CUDA 13 is installed";
  const auto give = reinterpret_cast<const CudaLibrary* (*)()>(::dlsym(own, "coeus_cuda_library"));
  COEUS_ASSERT(give != nullptr);
  loaded = give();
  set_device_attention(at::kCUDA, loaded->attention);
  set_fused_operations(at::kCUDA, loaded->operations);
  return "";
}

}  // namespace

bool has_cuda_driver() { return ::dlopen("libcuda.so.1", RTLD_NOW) != nullptr; }

const std::string& load_cuda() {
  static const std::string reason = load();
  return reason;
}

const CudaLibrary& cuda_library() {
  COEUS_ASSERT(loaded != nullptr);
  return *loaded;
}

}  // namespace coeus
