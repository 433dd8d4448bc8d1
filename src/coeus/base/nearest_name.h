// Finds the name that somebody most likely meant.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coeus {

/// The least number of single-letter mistakes (a letter dropped, added or replaced, two neighbours
/// swapped) that turn one text into the other: the optimal string alignment distance. '-' and '_'
/// count as the same letter.
std::size_t count_typos(std::string_view a, std::string_view b);

/// The candidate with the fewest typos, the first of equals; none if even that one shares too
/// little with `name` (more than a third of its letters, and more than two, differ).
std::optional<std::string> nearest_name(std::string_view name,
                                        const std::vector<std::string>& candidates);

/// The same for names of the form "section.key", where the key may also stand in the wrong section
/// ("training.lr" gives "optimizer.lr") or in none ("lr").
std::optional<std::string> nearest_key(std::string_view name,
                                       const std::vector<std::string>& candidates);

}  // namespace coeus
