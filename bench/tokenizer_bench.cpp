// Encoding and training speed on Debian's fortunes, one core: bytes_per_second is what counts.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "coeus/data/tokenizer/bpe_trainer.h"
#include "coeus/data/tokenizer/tokenizer.h"

namespace {

namespace fs = std::filesystem;
using namespace coeus;

const std::vector<std::string>& documents() {
  static const std::vector<std::string> all = [] {
    const fs::path folder = "/usr/share/games/fortunes";
    std::vector<fs::path> files;
    if (fs::is_directory(folder)) {
      for (const auto& entry : fs::directory_iterator(folder)) {
        const auto extension = entry.path().extension();
        if (extension != ".dat" && extension != ".u8") files.push_back(entry.path());
      }
    }
    std::sort(files.begin(), files.end());
    std::vector<std::string> texts;
    for (const auto& path : files) {
      std::ifstream file(path, std::ios::binary);
      std::string document;
      for (std::string line; std::getline(file, line);) {
        if (line == "%") {
          texts.push_back(std::move(document));
          document.clear();
        } else {
          document += line + '\n';
        }
      }
      texts.push_back(std::move(document));
    }
    return texts;
  }();
  return all;
}

int64_t total_bytes() {
  int64_t bytes = 0;
  for (const auto& text : documents()) bytes += static_cast<int64_t>(text.size());
  return bytes;
}

TrainedBpe train(const std::string& kind, int64_t vocab_size) {
  size_t next = 0;
  return train_bpe(
      [&](std::string& document) {
        if (next == documents().size()) return false;
        document = documents()[next++];
        return true;
      },
      {.vocab_size = vocab_size, .kind = kind});
}

void encode_fortunes(benchmark::State& state, const std::string& kind, int64_t vocab_size) {
  if (documents().empty()) return state.SkipWithError("Debian's fortunes are not installed");
  const fs::path folder = fs::temp_directory_path() / ("coeus_tokenizer_bench_" + kind);
  write_tokenizer(train(kind, vocab_size), folder);
  const auto tokenizer = Tokenizer::from_folder(folder);
  fs::remove_all(folder);
  for (auto _ : state) {
    for (const auto& text : documents()) benchmark::DoNotOptimize(tokenizer.encode(text));
  }
  state.SetBytesProcessed(state.iterations() * total_bytes());
}
BENCHMARK_CAPTURE(encode_fortunes, llama3_2048, "llama3", 2048);
BENCHMARK_CAPTURE(encode_fortunes, llama3_32768, "llama3", 32768);
BENCHMARK_CAPTURE(encode_fortunes, gpt2_2048, "gpt2", 2048);
BENCHMARK_CAPTURE(encode_fortunes, qwen2_2048, "qwen2", 2048);
BENCHMARK_CAPTURE(encode_fortunes, deepseek_v3_2048, "deepseek_v3", 2048);

void encode_committed(benchmark::State& state, const std::string& folder, const std::string& text) {
  const auto tokenizer =
      Tokenizer::from_folder(fs::path(COEUS_SOURCE_DIR) / "tests/tokenizer" / folder);
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.encode(text));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}

// Llama 2's kind has no pre-tokenizer: a document is one word.
void encode_llama2(benchmark::State& state) {
  std::string text;
  for (const auto& document : documents()) text += document;
  encode_committed(state, "llama2", text.substr(0, 1 << 20));
}
BENCHMARK(encode_llama2);

void encode_without_spaces(benchmark::State& state) {
  std::string text;
  uint64_t state_bits = 1;
  while (text.size() < (1u << 20)) {
    state_bits = state_bits * 6364136223846793005u + 1442695040888963407u;
    text += "etaoinshrdlu"[(state_bits >> 33) % 12];
  }
  encode_committed(state, "llama3", text);
}
BENCHMARK(encode_without_spaces);

void train_on_fortunes(benchmark::State& state) {
  if (documents().empty()) return state.SkipWithError("Debian's fortunes are not installed");
  for (auto _ : state) benchmark::DoNotOptimize(train("llama3", 2048));
  state.SetBytesProcessed(state.iterations() * total_bytes());
}
BENCHMARK(train_on_fortunes)->Unit(benchmark::kMillisecond);

}  // namespace
