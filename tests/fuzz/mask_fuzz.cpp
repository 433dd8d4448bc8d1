// libFuzzer over the mask parser and lowering: the first eight bytes choose a layout, the rest is
// an expression. Whatever parses must print and parse to itself and lower to what its elements say;
// whatever does not must be refused with ConfigError.
//   cmake --preset fuzz && cmake --build --preset fuzz
//   build-fuzz/tests/fuzz/mask_fuzz -dict=tests/fuzz/mask.dict -max_len=200 -max_total_time=300
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/mask/mask.h"
#include "coeus/mask/select.h"

namespace {

using namespace coeus;

constexpr size_t kLayoutBytes = 8;

void require(bool holds, const char* what, const Mask& mask) {
  if (holds) return;
  std::fprintf(stderr, "%s: %s\n", what, mask.to_string().c_str());
  std::abort();
}

/// Documents of bytes[0..2] % 24 tokens; queries and keys shifted and strided by the rest.
SequenceLayout layout_of(const uint8_t* bytes) {
  const std::vector<int64_t> lengths{bytes[0] % 24, bytes[1] % 24, bytes[2] % 24};
  const auto whole = SequenceLayout::from_document_lengths(lengths);
  const int64_t count = whole.query_length();
  const auto places = [&](uint8_t stride, uint8_t keep) {
    std::vector<int64_t> chosen;
    const int64_t step = 1 + stride % 7;
    for (int64_t first = 0; first < step; ++first) {
      for (int64_t i = first; i < count; i += step) chosen.push_back(i);
    }
    chosen.resize(keep % 2 == 0 ? chosen.size() : keep % (chosen.size() + 1));
    return chosen;
  };
  return SequenceLayout(select(*whole.query(), places(bytes[3], bytes[4])),
                        select(*whole.key(), places(bytes[5], bytes[6])));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < kLayoutBytes) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + kLayoutBytes,
                              size - kLayoutBytes);
  try {
    const Mask mask = parse_mask(text);
    require(parse_mask(mask.to_string()) == mask, "does not read back what it printed", mask);
    const SequenceLayout layout = layout_of(data);
    const LowerOptions options{1 + data[7] % 16, 1 + data[7] / 16};
    const auto dense = lower(mask, std::vector{layout}, options).to_dense(0);
    for (int64_t q = 0; q < layout.query_length(); ++q) {
      for (int64_t k = 0; k < layout.key_length(); ++k) {
        const bool sees = mask.sees(layout.query()->token(q), layout.key()->token(k));
        require(sees == (dense[q * layout.key_length() + k] != 0), "lowered wrongly", mask);
      }
    }
  } catch (const ConfigError&) {
  }
  return 0;
}
