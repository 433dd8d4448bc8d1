// TorchTitan's features that coeus lacks, one entry each: whoever builds one deletes its entry.
#pragma once

#include <string_view>
#include <vector>

namespace coeus {

struct JobConfig;

/// A feature, and the value of a key that asks for it. Such a value is refused; every other value
/// of the key is accepted.
struct UnsupportedFeature {
  std::string_view key;
  bool (*is_asked_for)(const JobConfig&);
  std::string_view when;     ///< the same condition in words, after "refused ": "above 1"
  std::string_view feature;  ///< after "not supported yet: "
  std::string_view advice;   ///< what to do instead
  /// Further keys, or whole sections "section.", that count only for this feature.
  std::vector<std::string_view> also = {};
};

/// All of them.
const std::vector<UnsupportedFeature>& unsupported_features();

}  // namespace coeus
