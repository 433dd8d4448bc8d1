#include "coeus/base/shortest_number.h"

#include <array>
#include <charconv>
#include <cmath>

namespace coeus {

namespace {

template <class Number>
std::string to_text(Number value) {
  if (std::isnan(value)) return "nan";  // to_chars would print the sign of a NaN
  std::array<char, 32> text;
  auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

}  // namespace

std::string shortest_number(double value) { return to_text(value); }
std::string shortest_number(float value) { return to_text(value); }

}  // namespace coeus
