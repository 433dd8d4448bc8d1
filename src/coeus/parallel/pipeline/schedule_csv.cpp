#include "coeus/parallel/pipeline/schedule_csv.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

#include "coeus/base/error.h"
#include "coeus/parallel/pipeline/simulate.h"

namespace coeus {

namespace {

std::string_view trimmed(std::string_view text) {
  constexpr const char* kBlank = " \t\r";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

/// A whole number that `text` begins with, which is taken off it.
std::optional<int64_t> take_number(std::string_view& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  // Numbers that could be meant are small; others would make a schedule of that many stages.
  constexpr int64_t kMost = 1 << 20;
  if (error != std::errc() || number < 0 || number > kMost) return {};
  text.remove_prefix(end - text.data());
  return number;
}

std::optional<Action> parse_action(std::string_view text) {
  const std::optional<int64_t> stage = take_number(text);
  if (!stage || text.empty() || std::string_view("FBIW").find(text.front()) == text.npos) return {};
  const auto kind = static_cast<ActionKind>(text.front());
  text.remove_prefix(1);
  const std::optional<int64_t> micro_batch = take_number(text);
  if (!micro_batch || !text.empty()) return {};
  return Action{kind, *stage, *micro_batch};
}

/// Where an action stands, both counted from 1; the column is the cell's.
struct Place {
  size_t line = 0;
  size_t column = 0;
};

}  // namespace

PipelineSchedule schedule_from_csv(const std::string& text, const std::string& name) {
  PipelineSchedule schedule{.name = name};
  std::vector<std::vector<Place>> places;
  std::vector<size_t> line_of_rank;
  size_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (trimmed(line).empty()) continue;
    schedule.ranks.emplace_back();
    places.emplace_back();
    line_of_rank.push_back(line_number);
    size_t column = 0;
    for (size_t cell_begin = 0; cell_begin <= line.size();) {
      const size_t cell_end = std::min(line.find(',', cell_begin), line.size());
      const std::string_view cell = trimmed(line.substr(cell_begin, cell_end - cell_begin));
      cell_begin = cell_end + 1;
      ++column;
      if (cell.empty()) continue;
      const std::optional<Action> action = parse_action(cell);
      COEUS_CHECK_CONFIG(action.has_value(),
                         "{}: line {}, column {}: \"{}\" is no action; write stage, F, B, I or W, "
                         "and micro-batch, as in 0F2, and nothing for a pause",
                         name, line_number, column, cell);
      schedule.ranks.back().push_back(*action);
      places.back().push_back({line_number, column});
      schedule.stages = std::max(schedule.stages, action->stage + 1);
      schedule.micro_batches = std::max(schedule.micro_batches, action->micro_batch + 1);
    }
  }
  COEUS_CHECK_CONFIG(schedule.stages > 0,
                     "{}: there is no action; write a line for each rank, such as 0F0,0B0", name);
  const std::optional<ScheduleMistake> mistake = find_mistake(schedule);
  if (!mistake) return schedule;
  const std::string complaint =
      mistake->action
          ? fmt::format("line {}, column {}", places[mistake->rank][*mistake->action].line,
                        places[mistake->rank][*mistake->action].column)
          : fmt::format("line {}", line_of_rank[mistake->rank]);
  throw ConfigError(
      fmt::format("{}: {} (rank {}): {}", name, complaint, mistake->rank, mistake->complaint));
}

PipelineSchedule read_schedule_csv(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  COEUS_CHECK_CONFIG(file.good() && !std::filesystem::is_directory(path),
                     "parallelism.pipeline_parallel_schedule_csv: {} cannot be read",
                     path.string());
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return schedule_from_csv(text, path.string());
}

std::string csv_of_schedule(const PipelineSchedule& schedule) {
  // A whole backward pass is one cell, whatever it takes.
  Timeline timeline = simulate(schedule);
  std::string text;
  for (const auto& blocks : timeline.ranks) {
    int64_t now = 0;
    std::string line;
    for (const Timeline::Block& block : blocks) {
      if (&block != &blocks.front()) line += ',';
      line.append(block.begin - now, ',');
      line += action_text(block.action);
      now = block.end;
    }
    text += line + '\n';
  }
  return text;
}

}  // namespace coeus
