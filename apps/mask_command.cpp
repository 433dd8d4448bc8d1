// coeus mask show: what a mask looks like and costs, lowered.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "coeus/mask/draw.h"
#include "coeus/mask/lower.h"
#include "commands.h"

namespace coeus {
namespace {

struct MaskArguments {
  std::string expression;
  int64_t seq_len = 0;
  std::vector<int64_t> documents;
  int64_t tile = 128;
  int64_t tile_k = 0;
  std::string svg;
  std::string png;
  bool json = false;
  bool dense = false;
};

/// The documents' lengths; what they leave of seq_len is one more document.
std::vector<int64_t> document_lengths(const MaskArguments& arguments) {
  auto lengths = arguments.documents;
  for (const int64_t length : lengths) {
    COEUS_CHECK_CONFIG(length >= 1, "[mask show] a document of {} tokens in --documents", length);
  }
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  COEUS_CHECK_CONFIG(total > 0 || arguments.seq_len > 0,
                     "[mask show] say how long the row is: --seq-len N or --documents 100,400,12");
  COEUS_CHECK_CONFIG(arguments.seq_len == 0 || total <= arguments.seq_len,
                     "[mask show] the documents hold {} tokens, more than --seq-len {}", total,
                     arguments.seq_len);
  if (total < arguments.seq_len) lengths.push_back(arguments.seq_len - total);
  return lengths;
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  COEUS_CHECK(!file.fail(), "[mask show] cannot write {}: does its folder exist?", path);
}

void print_summary(const MaskArguments& arguments, const Mask& mask, const BlockMask& lowered,
                   const std::vector<int64_t>& documents, double milliseconds) {
  const TileCounts counts = lowered.tile_counts(0);
  fmt::print("{}\n", mask.to_string());
  if (mask.simplified() != mask) fmt::print("= {}\n", mask.simplified().to_string());
  if (documents.size() <= 16) fmt::print("documents {}\n", fmt::join(documents, ", "));
  fmt::print("{}", draw_for_terminal(lowered.row(0)));
  fmt::print(
      "area {} of {} x {} pairs, {:.2f} % hidden\n"
      "tiles of {} x {}: {} full, {} partial, {} empty; {} bytes; lowered in {:.3f} ms\n",
      lowered.area(0), lowered.query_length(), lowered.key_length(), 100 * lowered.sparsity(),
      lowered.tile_q(), lowered.tile_k(), counts.full, counts.partial, counts.empty,
      lowered.bytes(), milliseconds);
  if (!arguments.svg.empty()) fmt::print("wrote {}\n", arguments.svg);
  if (!arguments.png.empty()) fmt::print("wrote {}\n", arguments.png);
}

void print_json(const BlockMask& lowered, double milliseconds) {
  const TileCounts counts = lowered.tile_counts(0);
  const nlohmann::ordered_json object = {
      {"area", lowered.area(0)},     {"sparsity", lowered.sparsity()},
      {"full_tiles", counts.full},   {"partial_tiles", counts.partial},
      {"empty_tiles", counts.empty}, {"bytes", lowered.bytes()},
      {"lowering_ms", milliseconds},
  };
  fmt::print("{}\n", object.dump());
}

ExitCode show(const MaskArguments& arguments) {
  constexpr int64_t kLongestDense = 16384;
  const Mask mask = parse_mask(arguments.expression);
  const std::vector<int64_t> documents = document_lengths(arguments);
  const auto layout = SequenceLayout::from_document_lengths(documents);
  COEUS_CHECK_CONFIG(!arguments.dense || layout.query_length() <= kLongestDense,
                     "[mask show] --dense prints rows of up to {} tokens, not {}", kLongestDense,
                     layout.query_length());
  const std::vector<SequenceLayout> rows{layout};
  const LowerOptions options{arguments.tile,
                             arguments.tile_k > 0 ? arguments.tile_k : arguments.tile};

  const auto start = std::chrono::steady_clock::now();
  const BlockMask lowered = lower(mask, rows, options);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;

  if (!arguments.svg.empty()) {
    write_file(arguments.svg, draw_svg(lowered.row(0), layout, mask.to_string()));
  }
  if (!arguments.png.empty()) write_file(arguments.png, draw_png(lowered.row(0), layout));
  if (arguments.json) {
    print_json(lowered, took.count());
  } else if (arguments.dense) {
    fmt::print("{}", draw_dense(lowered, 0));
  } else {
    print_summary(arguments, mask, lowered, documents, took.count());
  }
  return ExitCode::kDone;
}

}  // namespace

void add_mask_command(CLI::App& program, Command& chosen) {
  auto arguments = std::make_shared<MaskArguments>();
  CLI::App* mask = program.add_subcommand("mask", "Look at attention masks.");
  mask->require_subcommand(1);
  CLI::App* command = mask->add_subcommand(
      "show",
      "Lower a mask to tiles and show it: a picture, the visible area, the tiles and their "
      "memory.\n"
      "Leaves: full causal document sliding_window(left, right=0) chunk(n) prefix(n) sink(n) "
      "dilated(n); operators ~ & | and parentheses.\n"
      "Examples:\n"
      "  coeus mask show 'causal & document' --documents 100,400,12\n"
      "  coeus mask show 'causal & document & chunk(2048)' --seq-len 8192 --svg irope.svg\n"
      "  coeus mask show 'sink(4) | sliding_window(64)' --seq-len 1000 --tile 64 --json");
  command->add_option("EXPR", arguments->expression, "The mask")->required();
  command->add_option("--seq-len", arguments->seq_len, "Tokens of the row (default: the documents)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--documents", arguments->documents,
                   "Lengths of the packed documents; what they leave of --seq-len is one more")
      ->delimiter(',');
  command->add_option("--tile", arguments->tile, "Tokens a tile (default 128)")
      ->check(CLI::Range(1, 4096));
  command->add_option("--tile-k", arguments->tile_k, "Keys a tile, if not as many as queries")
      ->check(CLI::Range(1, 4096));
  command->add_option("--svg", arguments->svg, "Write the picture as SVG to this file");
  command->add_option("--png", arguments->png, "Write the picture as PNG to this file");
  auto* json = command->add_flag("--json", arguments->json, "Print the figures as one JSON object");
  command->add_flag("--dense", arguments->dense, "Print the mask itself as rows of 0 and 1")
      ->excludes(json);
  command->callback([arguments, &chosen] { chosen = [arguments] { return show(*arguments); }; });
}

}  // namespace coeus
