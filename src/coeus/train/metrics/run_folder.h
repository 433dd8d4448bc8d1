// The folder that a run writes into.
#pragma once

#include <filesystem>

namespace coeus {

/// Makes `folder` and its parents where they are missing and proves that files can be written there
/// by writing one. Throws ConfigError naming the folder, the configuration `key` that set it, the
/// cause (permission, a file in the way, a full or read-only disk) and what to do.
void make_run_folder(const std::filesystem::path& folder, const char* key = "job.dump_folder");

}  // namespace coeus
