#include "coeus/data/file_dataset_options.h"

#include <nlohmann/json.hpp>
#include <numeric>

namespace coeus {

nlohmann::json file_identity(const std::string& kind, const FileDatasetOptions& options,
                             std::span<const DataFile> files) {
  uint64_t bytes = 0;
  for (const auto& file : files) bytes += file.bytes;
  nlohmann::json identity{
      {"kind", kind},   {"path", options.path.string()},     {"files", files.size()},
      {"bytes", bytes}, {"fingerprint", fingerprint(files)}, {"shuffle", options.shuffle}};
  if (options.shuffle) identity["seed"] = options.seed;
  return identity;
}

}  // namespace coeus
