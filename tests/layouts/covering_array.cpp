#include "covering_array.h"

#include <algorithm>
#include <cstdint>
#include <map>
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
  std::map<Combination, size_t> numbers;
  std::vector<std::vector<size_t>> combinations;  // of each case, by number
  for (const Choices& choices : cases) {
    combinations.emplace_back();
    for (Combination& combination : combinations_of(choices, strength))
      combinations.back().push_back(
          numbers.try_emplace(std::move(combination), numbers.size()).first->second);
  }
  std::vector<bool> is_missing(numbers.size(), true);
  const auto news_of = [&](size_t number) {
    return std::count_if(combinations[number].begin(), combinations[number].end(),
                         [&](size_t combination) { return is_missing[combination]; });
  };
  std::vector<Choices> array;
  while (true) {
    size_t best = 0;
    int64_t most = 0;
    for (size_t number = 0; number < cases.size(); ++number) {
      const int64_t news = news_of(number);
      if (news <= most) continue;
      most = news;
      best = number;
    }
    if (most == 0) return array;
    for (const size_t combination : combinations[best]) is_missing[combination] = false;
    array.push_back(cases[best]);
  }
}

}  // namespace coeus
