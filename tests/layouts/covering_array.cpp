#include "covering_array.h"

#include <cstdint>
#include <set>
#include <utility>

namespace coeus {

namespace {

/// Factors and a choice of each.
using Combination = std::vector<std::pair<int, int>>;

/// The combinations of `strength` factors that a case has.
std::vector<Combination> combinations_of(const Choices& choices, int strength) {
  std::vector<Combination> found;
  const auto factors = static_cast<int>(choices.size());
  for (uint32_t chosen = 0; chosen < (1U << factors); ++chosen) {
    if (__builtin_popcount(chosen) != strength) continue;
    Combination combination;
    for (int factor = 0; factor < factors; ++factor)
      if ((chosen >> factor) & 1) combination.emplace_back(factor, choices[factor]);
    found.push_back(std::move(combination));
  }
  return found;
}

std::vector<Choices> all_cases(const std::vector<int>& levels,
                               const std::function<bool(const Choices&)>& is_allowed) {
  std::vector<Choices> cases = {{}};
  for (const int level : levels) {
    std::vector<Choices> longer;
    for (const Choices& begun : cases)
      for (int choice = 0; choice < level; ++choice) {
        longer.push_back(begun);
        longer.back().push_back(choice);
      }
    cases = std::move(longer);
  }
  std::erase_if(cases, [&](const Choices& choices) { return !is_allowed(choices); });
  return cases;
}

}  // namespace

std::vector<Choices> covering_array(const std::vector<int>& levels, int strength,
                                    const std::function<bool(const Choices&)>& is_allowed) {
  const std::vector<Choices> cases = all_cases(levels, is_allowed);
  std::set<Combination> missing;
  for (const Choices& choices : cases)
    for (Combination& combination : combinations_of(choices, strength))
      missing.insert(std::move(combination));
  std::vector<Choices> array;
  while (!missing.empty()) {
    const Choices* best = nullptr;
    int most = 0;
    for (const Choices& choices : cases) {
      int news = 0;
      for (const Combination& combination : combinations_of(choices, strength))
        news += missing.contains(combination) ? 1 : 0;
      if (news > most) {
        most = news;
        best = &choices;
      }
    }
    for (const Combination& combination : combinations_of(*best, strength))
      missing.erase(combination);
    array.push_back(*best);
  }
  return array;
}

}  // namespace coeus
