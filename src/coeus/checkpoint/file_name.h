// Which names a file that lists other files may give.
#pragma once

#include <string_view>

namespace coeus {

/// Whether the name stays within its folder: not empty, not "." or "..", no separator, no NUL. A
/// name read from a manifest or an index is used only if it does.
inline bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

}  // namespace coeus
