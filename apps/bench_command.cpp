// coeus bench balancers: what balancers and methods of context parallelism cost, by calculation.
#include <fmt/core.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "coeus/base/log.h"
#include "coeus/parallel/context/plan/balancer_table.h"
#include "commands.h"

namespace coeus {
namespace {

struct BalancersArguments {
  BalancerTableOptions options;
  std::vector<std::string> documents, masks, balancers, methods;
  int64_t head_dim = 128;
  double tflops = 500;
  double bandwidth_gb = 400;
  double latency_us = 20;
  std::string markdown;
  std::string json;
  std::string plots;
};

/// What the names stand for; `all` where none is given.
template <class Value, class FromName>
std::vector<Value> read_names(const std::vector<std::string>& names, const std::vector<Value>& all,
                              FromName from_name) {
  if (names.empty()) return all;
  std::vector<Value> values;
  for (const std::string& name : names) values.push_back(from_name(name));
  return values;
}

BalancerTableOptions options_of(const BalancersArguments& arguments) {
  BalancerTableOptions options = arguments.options;
  options.documents = read_names(arguments.documents, options.documents, document_mix_from_name);
  options.masks = read_names(arguments.masks, options.masks, mask_mix_from_name);
  options.balancers = read_names(arguments.balancers, options.balancers, balancer_from_name);
  options.methods = read_names(arguments.methods, options.methods, context_method_from_name);
  ContextCostModel& model = options.model;
  model.key_dim = model.value_dim = arguments.head_dim;
  model.flops_per_second = 1e12 * arguments.tflops;
  model.bytes_per_second = 1e9 * arguments.bandwidth_gb;
  model.seconds_per_exchange = 1e-6 * arguments.latency_us;
  COEUS_CHECK_CONFIG(model.heads % model.kv_heads == 0,
                     "[bench balancers] --heads {} is no multiple of --kv-heads {}", model.heads,
                     model.kv_heads);
  return options;
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  COEUS_CHECK(!file.fail(), "[bench balancers] cannot write {}: does its folder exist?",
              path.string());
  log_info("wrote {}", path.string());
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  COEUS_CHECK(!file.bad() && file.is_open(), "[bench balancers] cannot read {}", path);
  return text;
}

ExitCode bench_balancers(const BalancersArguments& arguments) {
  const BalancerTableOptions options = options_of(arguments);
  // What cannot be filled is refused before minutes of work.
  const bool fills_page =
      !arguments.markdown.empty() && std::filesystem::exists(arguments.markdown);
  if (fills_page) check_page(read_file(arguments.markdown));
  if (!arguments.plots.empty()) std::filesystem::create_directories(arguments.plots);

  const BalancerTable table = measure_balancers(options, [](const BalancerCase& of) {
    log_info("{} tokens, masks {}, documents {}, {} ranks", of.tokens, name_of(of.masks),
             name_of(of.documents), of.ranks);
  });
  const MarkdownParts parts = table_markdown(table);
  if (!arguments.json.empty()) write_file(arguments.json, table_json(table));
  if (!arguments.plots.empty())
    for (const auto& [name, svg] : table_plots(table))
      write_file(std::filesystem::path(arguments.plots) / name, svg);
  if (arguments.markdown.empty()) {
    fmt::print("{}", page_of(parts));
  } else {
    write_file(arguments.markdown,
               fills_page ? with_parts(read_file(arguments.markdown), parts) : page_of(parts));
  }
  return ExitCode::kDone;
}

void add_choices(CLI::App& command, BalancersArguments& arguments) {
  BalancerTableOptions& options = arguments.options;
  const auto list = [&](const char* name, auto& values, const char* words) {
    return command.add_option(name, values, words)->delimiter(',');
  };
  list("--tokens", options.tokens, "Lengths of the row")->capture_default_str();
  list("--cp", options.ranks, "Numbers of ranks")->capture_default_str();
  list("--documents", arguments.documents,
       "Mixes of documents: uniform, exponential, long_tail, one (default: all)");
  list("--masks", arguments.masks,
       "Mixes of masks: causal, documents, irope, window_global (default: all)");
  list("--balancers", arguments.balancers,
       "none, headtail, per_document, ptrr, joint (default: all)");
  list("--methods", arguments.methods, "allgather, ring, alltoall, needed (default: all)");
  command.add_option("--seed", options.seed, "Of the documents' lengths")->capture_default_str();
  command.add_option("--rows", options.rows, "Rows of a mix that is drawn")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

void add_sizes(CLI::App& command, BalancersArguments& arguments) {
  ContextCostModel& model = arguments.options.model;
  model.element_size = 2;
  const auto number = [&](const char* name, auto& value, const char* words) {
    return command.add_option(name, value, words)->capture_default_str();
  };
  number("--heads", model.heads, "Query heads of a rank")->check(CLI::PositiveNumber);
  number("--kv-heads", model.kv_heads, "Key and value heads of a rank")->check(CLI::PositiveNumber);
  number("--head-dim", arguments.head_dim, "Numbers a head")->check(CLI::PositiveNumber);
  number("--element-size", model.element_size, "Bytes a number")->check(CLI::PositiveNumber);
  number("--tflops", arguments.tflops, "10^12 operations a second of a rank, in attention")
      ->check(CLI::PositiveNumber);
  number("--bandwidth-gb", arguments.bandwidth_gb, "10^9 bytes a second that a rank gets")
      ->check(CLI::PositiveNumber);
  number("--latency-us", arguments.latency_us, "Microseconds before the first byte")
      ->check(CLI::NonNegativeNumber);
}

}  // namespace

void add_bench_command(CLI::App& program, Command& chosen) {
  auto arguments = std::make_shared<BalancersArguments>();
  CLI::App* bench = program.add_subcommand("bench", "Measure parts of coeus.");
  bench->require_subcommand(1);
  CLI::App* command = bench->add_subcommand(
      "balancers",
      "What balancers and methods of context parallelism cost on rows of several kinds: work of "
      "the busiest rank, bytes exchanged, expected time of attention and time to plan. All but the "
      "last is calculated from the masks; no GPU and no other rank is needed. The default takes "
      "some minutes.\n"
      "Examples:\n"
      "  coeus bench balancers --tokens 32768 --cp 2,4,8 --documents long_tail\n"
      "  coeus bench balancers --markdown docs/context_balancing.md --plots docs/context");
  add_choices(*command, *arguments);
  add_sizes(*command, *arguments);
  command->add_option("--markdown", arguments->markdown,
                      "Fill this page's tables anew, or write one that is not there (default: "
                      "print it)");
  command->add_option("--json", arguments->json, "Write all figures to this file");
  command->add_option("--plots", arguments->plots, "Draw plots as SVG into this folder");
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return bench_balancers(*arguments); }; });
}

}  // namespace coeus
