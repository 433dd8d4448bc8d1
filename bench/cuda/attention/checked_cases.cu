#include "checked_cases.h"

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checker.h"
#include "coeus/kernels/cuda/element_type.h"
#include "coeus/mask/sequence_layout.h"
#include "placed_mask.h"
#include "wait.h"

namespace coeus::cuda {

bool check_cases(const Options& options, cudaStream_t stream) {
  Checker checker(options, stream);
  const auto start = Clock::now();
  const auto text_of = [](const std::string& name, int length) {
    const auto number = [&](int divisor) { return std::to_string(length / divisor + 1); };
    const std::map<std::string, std::string> texts = {
        {"causal", "causal"},
        {"full", "full"},
        {"documents", "causal & document"},
        {"window", "sliding_window(" + number(6) + ")"},
        {"irope", "chunk(" + number(5) + ") & document & causal"},
        {"dilated", "causal & dilated(3)"},
        {"whole_documents", "document"},
        // The first queries see nothing.
        {"blind_queries", "causal & ~sliding_window(" + number(3) + ")"},
        {"nothing", "~full"}};
    return texts.at(name);
  };
  const std::vector<Heads> all_heads = {{2, 2}, {8, 2}, {4, 1}};
  const std::vector<Dims> usual_dims = {{64, 64}, {96, 96}, {128, 128}, {192, 128}, {256, 256}};
  const std::vector<Dims> rare_dims = {{8, 8},     {72, 40},   {128, 64}, {160, 160},
                                       {192, 192}, {256, 128}, {33, 17},  {40, 130}};
  int number = 0;
  for (const char* const mask : {"causal", "full", "documents", "window", "irope", "dilated",
                                 "whole_documents", "blind_queries", "nothing"}) {
    for (const int length : {1, 7, 127, 128, 129, 239, 799, 1024}) {
      for (const int batch : {1, 2}) {
        std::vector<SequenceLayout> rows;
        for (int b = 0; b < batch; ++b) {
          rows.push_back(SequenceLayout::from_document_lengths(
              document_lengths(length, length / 4. + 1, 10 + b)));
        }
        // Placed when the first case of it is not filtered out.
        std::unique_ptr<PlacedMask> placed;
        const auto check_one = [&](Heads heads, Dims dims, ElementType type) {
          const Case c{mask, length, batch, heads, dims, type, Layout((number + number / 30) % 3)};
          ++number;
          if (c.name().find(options.filter) == std::string::npos) return;
          if (placed == nullptr)
            placed = std::make_unique<PlacedMask>(text_of(mask, length), rows,
                                                  options.deterministic, stream);
          checker.check_case(c, *placed);
        };
        for (const ElementType type : {ElementType::kBFloat16, ElementType::kFloat16}) {
          for (const Heads heads : all_heads) {
            for (const Dims dims : usual_dims) check_one(heads, dims, type);
          }
          if (length == 129 || length == 239) {
            for (const Dims dims : rare_dims)
              check_one(all_heads[(number + batch) % 3], dims, type);
          }
        }
        if (placed != nullptr) std::fflush(stdout);
      }
    }
  }

  // So many tiles that every block works on several, one after another: what a small case cannot
  // get wrong. Several times, since a race shows only now and then.
  for (const char* const mask : {"causal", "documents", "window", "irope", "blind_queries"}) {
    for (const int length : {3000, 4096}) {
      const std::vector<SequenceLayout> rows(
          2, SequenceLayout::from_document_lengths(document_lengths(length, 500, 3)));
      std::unique_ptr<PlacedMask> placed;
      for (const Heads heads : {Heads{32, 8}, Heads{16, 16}}) {
        for (const Dims dims : {Dims{64, 64}, Dims{128, 128}, Dims{192, 128}, Dims{256, 256}}) {
          for (int again = 0; again < 3; ++again) {
            const Case c{mask, length, 2, heads, dims, ElementType::kBFloat16, Layout(again)};
            if (c.name().find(options.filter) == std::string::npos) continue;
            if (placed == nullptr)
              placed = std::make_unique<PlacedMask>(text_of(mask, length), rows,
                                                    options.deterministic, stream);
            checker.check_case(c, *placed);
          }
        }
      }
    }
  }

  const int wrong = checker.print_summaries();
  std::printf("check: %d wrong, %.0f s\n\n", wrong, seconds_since(start));
  return wrong == 0;
}

}  // namespace coeus::cuda
