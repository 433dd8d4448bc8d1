// The [attention] section, coeus's own: which code computes attention.
#pragma once

#include <string>

namespace coeus {

class ConfigSection;

/// [attention].
struct AttentionConfig {
  std::string engine = "auto";  ///< "auto", "reference", "sdpa", "block_sparse" or "check"
  bool operator==(const AttentionConfig&) const = default;
};

/// Names the section's keys, their meaning and their allowed values to the configuration reader.
void describe(AttentionConfig& config, ConfigSection& section);

}  // namespace coeus
