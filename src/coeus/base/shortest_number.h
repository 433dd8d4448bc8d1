// Numbers as the shortest decimal text that reads back as the same number.
#pragma once

#include <string>

namespace coeus {

/// The shortest decimal text that reads back as exactly `value` in its own precision: 0.1 for 0.1,
/// 7.6615095 for the float 7.6615095f (which as a double would be 7.6615095138549805). "nan", "inf"
/// and "-inf" when it is not finite: JSON knows none of them, so the caller decides what to write.
std::string shortest_number(double value);
std::string shortest_number(float value);

}  // namespace coeus
