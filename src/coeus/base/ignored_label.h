#pragma once

#include <cstdint>

namespace coeus {

/// A label of this value counts for nothing in the loss.
inline constexpr int32_t kIgnoredLabel = -100;

}  // namespace coeus
