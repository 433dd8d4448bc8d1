// Few cases in which every choice of any two (or three) settings occurs together.
#pragma once

#include <functional>
#include <vector>

namespace coeus {

/// One choice a factor, counted from 0.
using Choices = std::vector<int>;

/// Cases such that, for every `strength` factors, each combination of their choices that some
/// allowed case has occurs in one of them (covering arrays: Cohen et al., "The AETG System", IEEE
/// TSE 1997; greedy, without chance). `levels`: how many choices each factor has.
std::vector<Choices> covering_array(const std::vector<int>& levels, int strength,
                                    const std::function<bool(const Choices&)>& is_allowed);

}  // namespace coeus
