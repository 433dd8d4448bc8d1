#include "coeus/base/nearest_name.h"

#include <algorithm>

namespace coeus {
namespace {

bool same_letter(char a, char b) {
  return a == b || ((a == '-' || a == '_') && (b == '-' || b == '_'));
}

bool is_near(std::size_t typos, std::string_view name) {
  return typos <= std::max<std::size_t>(2, name.size() / 3);
}

std::string_view last_part(std::string_view key) { return key.substr(key.rfind('.') + 1); }

std::string_view all_but_last_part(std::string_view key) {
  const std::size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : key.substr(0, dot);
}

}  // namespace

std::size_t count_typos(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = last[j - 1] + (same_letter(a[i - 1], b[j - 1]) ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]))
        row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::optional<std::string> nearest_name(std::string_view name,
                                        const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  std::size_t fewest = 0;
  for (const std::string& candidate : candidates) {
    const std::size_t typos = count_typos(name, candidate);
    if (is_near(typos, name) && (best == nullptr || typos < fewest)) {
      best = &candidate;
      fewest = typos;
    }
  }
  return best == nullptr ? std::nullopt : std::optional(*best);
}

std::optional<std::string> nearest_key(std::string_view name,
                                       const std::vector<std::string>& candidates) {
  const std::string_view section = all_but_last_part(name);
  const std::string_view key = last_part(name);
  const std::string* best = nullptr;
  double least = 0;
  for (const std::string& candidate : candidates) {
    const std::size_t in_section = count_typos(section, all_but_last_part(candidate));
    const std::size_t in_key = count_typos(key, last_part(candidate));
    if (!is_near(in_key, key)) continue;
    // A whole wrong section is one mistake, whatever its letters, but a little more than a typo, so
    // that a misspelt key of the right section comes before a right key of another.
    const double other_section = in_section == 0 ? 0 : 1.0 + 0.01 * double(in_section);
    const double mistakes = double(in_key) + std::min(other_section, 1.25);
    if (best == nullptr || mistakes < least) {
      best = &candidate;
      least = mistakes;
    }
  }
  return best == nullptr ? std::nullopt : std::optional(*best);
}

}  // namespace coeus
