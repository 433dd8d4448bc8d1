// Time and memory of lowering masks, S from 8K to 1M tokens. Documents have exponential lengths,
// mean 2048. `mask_lowering --benchmark_filter=documents` measures one mask.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "coeus/mask/lower.h"
#include "coeus/mask/select.h"

namespace coeus {
namespace {

SequenceLayout packed_documents(int64_t tokens) {
  std::mt19937_64 random(1);
  std::exponential_distribution<double> length(1.0 / 2048);
  std::vector<int64_t> lengths;
  for (int64_t left = tokens; left > 0; left -= lengths.back()) {
    lengths.push_back(std::clamp<int64_t>(static_cast<int64_t>(length(random)), 1, left));
  }
  return SequenceLayout::from_document_lengths(lengths);
}

/// Rank 0 of 8 under head-tail balancing: its queries, all keys in the order the ranks hold them.
SequenceLayout head_tail_shard(const SequenceLayout& whole) {
  constexpr int64_t kRanks = 8;
  const int64_t chunk = whole.query_length() / (2 * kRanks);
  std::vector<int64_t> places;
  for (int64_t rank = 0; rank < kRanks; ++rank) {
    for (const int64_t c : {rank, 2 * kRanks - 1 - rank}) {
      for (int64_t i = 0; i < chunk; ++i) places.push_back(c * chunk + i);
    }
  }
  return select_queries(select_keys(whole, places), std::span(places).first(2 * chunk));
}

/// Tokens dealt to 8 ranks one by one.
SequenceLayout striped(const SequenceLayout& whole) {
  std::vector<int64_t> places(whole.query_length());
  std::iota(places.begin(), places.end(), 0);
  std::stable_sort(places.begin(), places.end(),
                   [](int64_t a, int64_t b) { return a % 8 < b % 8; });
  return SequenceLayout::self(select(*whole.query(), places));
}

void lower_once(benchmark::State& state, const std::string& text, const SequenceLayout& layout) {
  const Mask mask = parse_mask(text);
  const std::vector<SequenceLayout> rows{layout};
  BlockMask lowered;
  for (auto _ : state) {
    lowered = lower(mask, rows);
    benchmark::DoNotOptimize(lowered);
  }
  const TileCounts counts = lowered.tile_counts();
  state.counters["bytes"] = static_cast<double>(lowered.bytes());
  state.counters["full"] = static_cast<double>(counts.full);
  state.counters["partial"] = static_cast<double>(counts.partial);
  state.counters["sparsity"] = lowered.sparsity();
}

/// One benchmark for each mask and length; registered before main.
bool add_benchmarks() {
  const std::vector<std::pair<std::string, std::string>> masks = {
      {"causal", "causal"},
      {"documents", "causal & document"},
      {"window", "sliding_window(1024)"},
      {"irope", "causal & document & chunk(8192)"},
      {"sink_window", "causal & document & (sink(64) | sliding_window(512))"},
      {"prefix_documents", "document & (causal | prefix(512))"},
      {"not_document", "causal & ~document"},
      {"dilated_window", "sliding_window(256) & dilated(2)"},
  };
  for (const auto& [name, text] : masks) {
    for (int64_t tokens = int64_t{1} << 13; tokens <= int64_t{1} << 20; tokens *= 2) {
      benchmark::RegisterBenchmark((name + "/" + std::to_string(tokens)).c_str(),
                                   [text = text, tokens](benchmark::State& state) {
                                     lower_once(state, text, packed_documents(tokens));
                                   })
          ->Unit(benchmark::kMillisecond);
    }
  }
  for (const int64_t tokens : {int64_t{1} << 17, int64_t{1} << 20}) {
    const auto add = [&](const char* name, SequenceLayout (*arrange)(const SequenceLayout&)) {
      benchmark::RegisterBenchmark(
          (std::string("documents_") + name + "/" + std::to_string(tokens)).c_str(),
          [=](benchmark::State& state) {
            lower_once(state, "causal & document", arrange(packed_documents(tokens)));
          })
          ->Unit(benchmark::kMillisecond);
    };
    add("head_tail_cp8", head_tail_shard);
    add("striped", striped);
  }
  return true;
}

const bool kIsAdded = add_benchmarks();

}  // namespace
}  // namespace coeus
