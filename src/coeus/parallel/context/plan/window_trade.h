// Two ranks trading tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace coeus {

/// The places of two ranks, each ascending, after they have exchanged `length` that follow one
/// another there: those from number `begin_a` of `a` for those from number `begin_b` of `b`.
inline std::pair<std::vector<int32_t>, std::vector<int32_t>> windows_traded(
    const std::vector<int32_t>& a, int64_t begin_a, const std::vector<int32_t>& b, int64_t begin_b,
    int64_t length) {
  const auto replaced = [length](const std::vector<int32_t>& places, int64_t begin,
                                 std::vector<int32_t>::const_iterator incoming) {
    std::vector<int32_t> kept(places.begin(), places.begin() + begin);
    kept.insert(kept.end(), places.begin() + begin + length, places.end());
    std::vector<int32_t> merged(places.size());
    std::merge(kept.begin(), kept.end(), incoming, incoming + length, merged.begin());
    return merged;
  };
  return {replaced(a, begin_a, b.begin() + begin_b), replaced(b, begin_b, a.begin() + begin_a)};
}

}  // namespace coeus
