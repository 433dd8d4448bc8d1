#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <set>

#include "coeus/base/error.h"
#include "coeus/parallel/context/plan/balancer_table.h"

namespace coeus {
namespace {

constexpr int64_t kShownRanks = 8;
constexpr std::string_view kPartBegin = "<!-- balancers: ";
constexpr std::string_view kPartEnd = "<!-- end -->";
constexpr std::array<std::string_view, 9> kPartNames = {
    "settings", "work", "lengths", "layers", "bytes", "needed", "time", "methods", "planning"};

/// The line of a page that the part of this name stands after.
std::string part_line(std::string_view name) { return fmt::format("{}{} -->", kPartBegin, name); }

/// 131072 as "131,072".
std::string with_commas(int64_t value) {
  std::string digits = std::to_string(value);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, ",");
  return digits;
}

/// Three digits that matter, never as 1e-05.
std::string short_number(double value) {
  if (value == 0) return "0";
  const int decimals = 2 - static_cast<int>(std::floor(std::log10(std::abs(value))));
  return fmt::format("{:.{}f}", value, std::clamp(decimals, 0, 6));
}

std::string line_of(const std::vector<std::string>& cells) {
  return fmt::format("| {} |\n", fmt::join(cells, " | "));
}

std::string header_of(const std::vector<std::string>& names) {
  return line_of(names) + line_of(std::vector<std::string>(names.size(), "---"));
}

/// Which cases a part shows: one length of row and one or two numbers of ranks.
struct Shown {
  int64_t tokens = 0;
  std::vector<int64_t> ranks;

  /// How the part's text begins.
  std::string words() const {
    std::string words = fmt::format("Rows of {} tokens", with_commas(tokens));
    if (ranks.size() == 1) return words + fmt::format(" on {} ranks.", ranks[0]);
    return words + fmt::format("; the first figure is for {} ranks, the second for {}.", ranks[0],
                               ranks[1]);
  }
};

std::set<int64_t> ranks_at(const BalancerTable& table, int64_t tokens) {
  std::set<int64_t> ranks;
  for (const BalancerCase& of : table.cases)
    if (of.tokens == tokens) ranks.insert(of.ranks);
  return ranks;
}

std::vector<int64_t> shown_ranks(const BalancerTable& table, int64_t tokens) {
  const std::set<int64_t> all = ranks_at(table, tokens);
  const auto first = all.count(kShownRanks) > 0 ? kShownRanks : *all.begin();
  return first == *all.rbegin() ? std::vector{first} : std::vector{first, *all.rbegin()};
}

Shown shown_of(const BalancerTable& table) {
  const int64_t tokens = shown_tokens(table);
  return {tokens, shown_ranks(table, tokens)};
}

/// A line for every mix of masks and documents; of a cell, the figures for each number of ranks.
class MixTable {
 public:
  using Figure = std::function<std::string(const BalancerCase&)>;
  using Choice = std::function<bool(const BalancerCase&)>;

  void add(std::string name, Figure figure) {
    names_.push_back(std::move(name));
    figures_.push_back(std::move(figure));
  }

  std::string text(
      const BalancerTable& table, const Shown& shown,
      const Choice& choice = [](const BalancerCase&) { return true; }) const {
    std::vector<std::string> header = {"masks", "documents"};
    header.insert(header.end(), names_.begin(), names_.end());
    std::string lines;
    for (const BalancerCase& first : table.cases) {
      if (first.tokens != shown.tokens || first.ranks != shown.ranks[0] || !choice(first)) continue;
      std::vector<std::string> cells = {std::string(name_of(first.masks)),
                                        std::string(name_of(first.documents))};
      for (const Figure& figure : figures_) cells.push_back(cell(table, shown, first, figure));
      lines += line_of(cells);
    }
    return header_of(header) + lines;
  }

 private:
  static std::string cell(const BalancerTable& table, const Shown& shown, const BalancerCase& first,
                          const Figure& figure) {
    std::vector<std::string> values;
    for (const int64_t ranks : shown.ranks)
      for (const BalancerCase& of : table.cases)
        if (of.tokens == first.tokens && of.documents == first.documents &&
            of.masks == first.masks && of.ranks == ranks)
          values.push_back(figure(of));
    return fmt::format("{}", fmt::join(values, " / "));
  }

  std::vector<std::string> names_;
  std::vector<Figure> figures_;
};

bool has_several_masks(const BalancerCase& of) { return masks_of(of.masks).size() > 1; }

std::string settings_part(const BalancerTable& table) {
  const ContextCostModel& model = table.options.model;
  std::string text = fmt::format(
      "A rank has {} query heads and {} key heads of {} numbers of {} bytes, computes {:g} TFLOP/s "
      "in attention, gets {:g} GB/s from others and waits {:g} µs for the first byte. Seed {}; "
      "figures of exponential and long_tail are means over up to {} rows.",
      model.heads, model.kv_heads, model.key_dim, model.element_size, model.flops_per_second / 1e12,
      model.bytes_per_second / 1e9, model.seconds_per_exchange * 1e6, table.options.seed,
      table.options.rows);
  if (!table.left_out.empty()) text += " Left out:\n";
  for (const std::string& what : table.left_out) text += fmt::format("\n- {}", what);
  return text + "\n";
}

std::string work_part(const BalancerTable& table, const Shown& shown) {
  MixTable mixes;
  mixes.add("bound", [](const auto& of) { return fmt::format("{:.2f}", of.least_imbalance); });
  for (const Balancer balancer : table.options.balancers)
    mixes.add(std::string(name_of(balancer)), [balancer](const BalancerCase& of) {
      return fmt::format("{:.2f}", of.of(balancer).imbalance);
    });
  return shown.words() + "\n\n" + mixes.text(table, shown);
}

std::string layers_part(const BalancerTable& table, const Shown& shown) {
  MixTable mixes;
  for (const Balancer balancer : table.options.balancers)
    mixes.add(std::string(name_of(balancer)), [balancer](const BalancerCase& of) {
      return fmt::format("{:.2f}", of.of(balancer).layer_imbalance);
    });
  return shown.words() + "\n\n" + mixes.text(table, shown, has_several_masks);
}

/// How max/mean grows with the row, on the mix of documents that is the hardest.
std::string lengths_part(const BalancerTable& table) {
  const std::vector<DocumentMix>& mixes = table.options.documents;
  const bool has_long_tail = std::count(mixes.begin(), mixes.end(), DocumentMix::kLongTail) > 0;
  const DocumentMix documents = has_long_tail ? DocumentMix::kLongTail : mixes.front();
  std::vector<std::string> header = {"masks", "tokens", "ranks"};
  for (const Balancer balancer : table.options.balancers) header.emplace_back(name_of(balancer));
  std::string lines;
  for (const MaskMix masks : table.options.masks) {
    for (const BalancerCase& of : table.cases) {
      if (of.masks != masks || of.documents != documents ||
          of.ranks != *ranks_at(table, of.tokens).rbegin())
        continue;
      std::vector<std::string> cells = {std::string(name_of(masks)), with_commas(of.tokens),
                                        std::to_string(of.ranks)};
      for (const BalancerFigures& plan : of.plans)
        cells.push_back(fmt::format("{:.2f} ({:.2f})", plan.imbalance, plan.worst_imbalance));
      lines += line_of(cells);
    }
  }
  return fmt::format("Documents {}; the mean over the rows, and in parentheses the worst row.\n\n",
                     name_of(documents)) +
         header_of(header) + lines;
}

std::string bytes_part(const BalancerTable& table, const Shown& shown) {
  const auto key_value_bytes = static_cast<double>(table.options.model.key_value_bytes());
  std::string lines;
  for (const ContextMethod method : table.options.methods) {
    if (method == ContextMethod::kNeeded) continue;
    std::vector<std::string> cells = {std::string(name_of(method))};
    for (const int64_t ranks : shown.ranks) {
      const auto of = std::find_if(table.cases.begin(), table.cases.end(), [&](const auto& its) {
        return its.tokens == shown.tokens && its.ranks == ranks;
      });
      const double bytes = of->plans.front().of(method).mean_bytes;
      cells.push_back(short_number(bytes / 1e6));
      cells.push_back(with_commas(std::llround(bytes / key_value_bytes)));
    }
    lines += line_of(cells);
  }
  std::vector<std::string> header = {"method"};
  for (const int64_t ranks : shown.ranks) {
    header.push_back(fmt::format("MB, {} ranks", ranks));
    header.push_back("as K/V tokens");
  }
  return header_of(header) + lines;
}

bool measures(const BalancerTable& table, ContextMethod method) {
  const std::vector<ContextMethod>& methods = table.options.methods;
  return std::count(methods.begin(), methods.end(), method) > 0;
}

std::string needed_part(const BalancerTable& table, const Shown& shown) {
  if (!measures(table, ContextMethod::kNeeded)) return "Method needed was not measured.\n";
  MixTable mixes;
  const auto key_value_bytes = static_cast<double>(table.options.model.key_value_bytes());
  for (const Balancer balancer : table.options.balancers)
    mixes.add(std::string(name_of(balancer)), [=](const BalancerCase& of) {
      // Of all keys that a rank does not have itself: what allgather brings.
      const auto tokens = static_cast<double>(of.tokens);
      const double all = key_value_bytes * tokens * (1 - 1 / static_cast<double>(of.ranks));
      return fmt::format("{:.1f}",
                         100 * of.of(balancer).of(ContextMethod::kNeeded).mean_bytes / all);
    });
  return shown.words() + "\n\n" + mixes.text(table, shown);
}

std::string time_part(const BalancerTable& table, const Shown& shown) {
  MixTable mixes;
  mixes.add("even", [](const auto& of) { return short_number(1e3 * of.ideal_seconds); });
  for (const Balancer balancer : table.options.balancers)
    mixes.add(std::string(name_of(balancer)), [balancer](const BalancerCase& of) {
      return short_number(1e3 * of.of(balancer).best_seconds);
    });
  return shown.words() + "\n\n" + mixes.text(table, shown);
}

std::string methods_part(const BalancerTable& table, const Shown& shown) {
  MixTable mixes;
  std::vector<Balancer> balancers = {table.options.balancers.front()};
  if (table.options.balancers.size() > 1) balancers.push_back(table.options.balancers.back());
  for (const ContextMethod method : table.options.methods)
    for (const Balancer balancer : balancers)
      mixes.add(fmt::format("{}, {}", name_of(method), name_of(balancer)),
                [=](const BalancerCase& of) {
                  return short_number(1e3 * of.of(balancer).of(method).seconds);
                });
  return shown.words() + "\n\n" + mixes.text(table, shown);
}

std::string planning_part(const BalancerTable& table) {
  std::vector<std::string> header = {"tokens", "ranks", "lowering", "counting"};
  for (const Balancer balancer : table.options.balancers) header.emplace_back(name_of(balancer));
  std::string lines;
  std::set<int64_t> lengths;
  for (const BalancerCase& of : table.cases) lengths.insert(of.tokens);
  for (const int64_t tokens : lengths) {
    for (const int64_t ranks : shown_ranks(table, tokens)) {
      std::vector<double> most(header.size() - 2);
      for (const BalancerCase& of : table.cases) {
        if (of.tokens != tokens || of.ranks != ranks) continue;
        std::vector<double> times = {of.lowering_ms, of.counting_ms};
        for (const BalancerFigures& plan : of.plans) times.push_back(plan.plan_ms);
        for (size_t i = 0; i < times.size(); ++i) most[i] = std::max(most[i], times[i]);
      }
      std::vector<std::string> cells = {with_commas(tokens), std::to_string(ranks)};
      for (const double time : most) cells.push_back(short_number(time));
      lines += line_of(cells);
    }
  }
  return header_of(header) + lines;
}

}  // namespace

int64_t shown_tokens(const BalancerTable& table) {
  constexpr int64_t kUsual = 131072;
  COEUS_CHECK_CONFIG(!table.cases.empty(), "[bench balancers] nothing was measured: {}",
                     fmt::join(table.left_out, "; "));
  const bool has_usual = std::any_of(table.cases.begin(), table.cases.end(),
                                     [](const BalancerCase& of) { return of.tokens == kUsual; });
  return has_usual ? kUsual : table.cases.back().tokens;
}

MarkdownParts table_markdown(const BalancerTable& table) {
  const Shown shown = shown_of(table);
  const std::array<std::string, kPartNames.size()> texts = {
      settings_part(table),      work_part(table, shown),    lengths_part(table),
      layers_part(table, shown), bytes_part(table, shown),   needed_part(table, shown),
      time_part(table, shown),   methods_part(table, shown), planning_part(table)};
  MarkdownParts parts;
  for (size_t i = 0; i < texts.size(); ++i) parts.emplace_back(kPartNames[i], texts[i]);
  return parts;
}

std::string with_parts(const std::string& page, const MarkdownParts& parts) {
  std::string filled;
  size_t at = 0;
  for (size_t begin = page.find(kPartBegin); begin != std::string::npos;
       begin = page.find(kPartBegin, at)) {
    const size_t line_end = std::min(page.find('\n', begin), page.size());
    const std::string line = page.substr(begin, line_end - begin);
    const size_t end = page.find(kPartEnd, line_end);
    COEUS_CHECK(end < page.find(kPartBegin, line_end),
                "[bench balancers] the page's line \"{}\" has no line \"{}\" after it", line,
                kPartEnd);
    const auto part = std::find_if(parts.begin(), parts.end(),
                                   [&](const auto& its) { return line == part_line(its.first); });
    COEUS_CHECK(part != parts.end(),
                "[bench balancers] the page's line \"{}\" names no part; there are {}", line,
                fmt::join(kPartNames, ", "));
    filled += page.substr(at, line_end - at) + "\n" + part->second;
    at = end;
  }
  COEUS_CHECK(at > 0,
              "[bench balancers] the page has no line \"{}\" to put a part after; name a file "
              "that does not exist to get one with all parts",
              part_line("NAME"));
  return filled + page.substr(at);
}

void check_page(const std::string& page) {
  MarkdownParts parts;
  for (const std::string_view name : kPartNames) parts.emplace_back(name, "");
  with_parts(page, parts);
}

std::string page_of(const MarkdownParts& parts) {
  std::string page = "# Balancers of context parallelism\n";
  for (const auto& [name, text] : parts)
    page += fmt::format("\n## {}\n{}\n{}{}\n", name, part_line(name), text, kPartEnd);
  return page;
}

}  // namespace coeus
