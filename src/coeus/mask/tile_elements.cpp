#include "coeus/mask/tile_elements.h"

#include <algorithm>
#include <limits>

#include "coeus/base/error.h"

namespace coeus {

struct TileElements::Tile {
  int64_t query_begin = 0;
  int64_t query_end = 0;
  int64_t key_begin = 0;
  int64_t key_end = 0;
  int64_t keys() const { return key_end - key_begin; }
  int64_t size() const { return (query_end - query_begin) * keys(); }
};

namespace {

/// out[i, j] = sees(query i, j): `make_sees(q)` gives a function of the key's place in storage.
template <typename TileType, typename MakeSees>
void for_each_pair(const TileType& tile, uint8_t* out, MakeSees make_sees) {
  // Bytes written may alias the tile: without copies of its numbers this is no vector code.
  const int64_t first = tile.key_begin;
  const int64_t keys = tile.keys();
  for (int64_t q = tile.query_begin; q < tile.query_end; ++q, out += keys) {
    const auto sees = make_sees(q);
    for (int64_t j = 0; j < keys; ++j) out[j] = sees(first + j);
  }
}

}  // namespace

std::span<const uint8_t> TileElements::evaluate(int64_t query_begin, int64_t query_end,
                                                int64_t key_begin, int64_t key_end) {
  const Tile tile{query_begin, query_end, key_begin, key_end};
  // The result's buffer is number 0; an operator at depth d uses 2 d + 1 and 2 d + 2.
  auto& out = buffer(0, tile.size());
  evaluate(mask_, tile, nullptr, out.data(), 0);
  return std::span<const uint8_t>(buffers_[0]).first(tile.size());
}

std::vector<uint8_t>& TileElements::buffer(size_t number, size_t size) {
  if (buffers_.size() <= number) buffers_.resize(number + 1);
  if (buffers_[number].size() < size) buffers_[number].resize(size);
  return buffers_[number];
}

void TileElements::evaluate(const MaskNode& node, const Tile& tile, const uint8_t* wanted,
                            uint8_t* out, size_t depth) {
  const TokenAttributes& queries = *layout_.query();
  const TokenAttributes& keys = *layout_.key();
  const int32_t* const key_index = keys.index.data();
  constexpr int64_t kLargest = std::numeric_limits<int32_t>::max();
  const int64_t size = tile.size();
  const auto by_index_range = [&](auto first_of, auto last_of) {
    for_each_pair(tile, out, [&](int64_t q) {
      const int64_t index = queries.index[q];
      const auto first = static_cast<int32_t>(std::max<int64_t>(first_of(index), 0));
      const auto last = static_cast<int32_t>(std::min<int64_t>(last_of(index), kLargest));
      return [=](int64_t k) { return (key_index[k] >= first) & (key_index[k] <= last); };
    });
  };
  switch (node.kind) {
    case MaskKind::kNone:
    case MaskKind::kFull:
      std::fill_n(out, size, node.kind == MaskKind::kFull);
      return;
    case MaskKind::kCausal:
      return by_index_range([](int64_t) { return 0; }, [](int64_t index) { return index; });
    case MaskKind::kSlidingWindow:
      return by_index_range([&](int64_t index) { return index - node.a + 1; },
                            [&](int64_t index) { return index + node.b; });
    case MaskKind::kChunk:
      return by_index_range([&](int64_t index) { return index / node.a * node.a; },
                            [&](int64_t index) { return index / node.a * node.a + node.a - 1; });
    case MaskKind::kPrefix:
      return by_index_range([](int64_t) { return 0; }, [&](int64_t) { return node.a - 1; });
    case MaskKind::kDocument:
      return for_each_pair(tile, out, [&](int64_t q) {
        return [document = queries.document[q], of_key = keys.document.data()](int64_t k) {
          return of_key[k] == document;
        };
      });
    case MaskKind::kSink:
      return for_each_pair(tile, out, [&](int64_t q) {
        return [document = queries.document[q], of_key = keys.document.data(),
                offset_of_key = keys.offset.data(), n = static_cast<int32_t>(node.a)](int64_t k) {
          return (of_key[k] == document) & (offset_of_key[k] < n);
        };
      });
    case MaskKind::kDilated: {
      const auto n = static_cast<int32_t>(node.a);
      std::vector<int32_t> remainders(tile.keys());
      for (int64_t k = 0; k < tile.keys(); ++k) remainders[k] = key_index[tile.key_begin + k] % n;
      return for_each_pair(tile, out, [&](int64_t q) {
        return [remainder = queries.index[q] % n, of_key = remainders.data(),
                begin = tile.key_begin](int64_t k) { return of_key[k - begin] == remainder; };
      });
    }
    case MaskKind::kDense:
      return for_each_pair(tile, out, [&](int64_t q) {
        return [row = queries.index[q] * node.b, bits = node.bits->data(), key_index](int64_t k) {
          const int64_t bit = row + key_index[k];
          return (bits[bit / 64] >> (bit % 64)) & 1;
        };
      });
    case MaskKind::kPredicate:
      return for_each_pair(tile, out, [&](int64_t q) {
        return [&, token = queries.token(q)](int64_t k) {
          const bool is_wanted = wanted == nullptr || *wanted++ != 0;
          return is_wanted && node_sees(node, token, keys.token(k));
        };
      });
    case MaskKind::kNot:
      evaluate(*node.operands[0], tile, wanted, out, depth);
      for (int64_t i = 0; i < size; ++i) out[i] ^= 1;
      return;
    case MaskKind::kAnd:
    case MaskKind::kOr: {
      const uint8_t settled = node.kind == MaskKind::kAnd ? 0 : 1;
      evaluate(*node.operands[0], tile, wanted, out, depth + 1);
      for (size_t i = 1; i < node.operands.size(); ++i) {
        // Only pairs that the operands so far leave open concern the next one.
        uint8_t* const open = buffer(2 * depth + 1, size).data();
        for (int64_t j = 0; j < size; ++j) open[j] = out[j] ^ settled;
        if (wanted != nullptr) {
          for (int64_t j = 0; j < size; ++j) open[j] &= wanted[j];
        }
        uint8_t* const next = buffer(2 * depth + 2, size).data();
        evaluate(*node.operands[i], tile, open, next, depth + 1);
        if (node.kind == MaskKind::kAnd) {
          for (int64_t j = 0; j < size; ++j) out[j] &= next[j];
        } else {
          for (int64_t j = 0; j < size; ++j) out[j] |= next[j];
        }
      }
      return;
    }
  }
}

}  // namespace coeus
