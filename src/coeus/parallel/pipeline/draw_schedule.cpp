#include "coeus/parallel/pipeline/draw_schedule.h"

#include <algorithm>
#include <array>

#include "coeus/base/error.h"

namespace coeus {

namespace {

constexpr double kLeft = 74;
constexpr double kTop = 46;
constexpr double kRow = 30;
constexpr double kRowGap = 4;
constexpr double kWidest = 1100;
constexpr double kWidestUnit = 28;
/// Blocks narrower than this have no number.
constexpr double kRoomForNumber = 11;
constexpr const char* kIdleColour = "#eef1f6";
constexpr const char* kInk = "#1d2433";

struct Colour {
  ActionKind kind;
  const char* words;
  std::array<int, 3> light;  ///< of a rank's first stage
  std::array<int, 3> deep;   ///< of its last
};

constexpr std::array<Colour, 4> kColours = {{
    {ActionKind::kForward, "forward", {128, 168, 224}, {42, 94, 168}},
    {ActionKind::kBackward, "backward", {246, 196, 116}, {221, 132, 20}},
    {ActionKind::kInputGradient, "input gradient", {246, 196, 116}, {221, 132, 20}},
    {ActionKind::kWeightGradient, "weight gradient", {143, 205, 160}, {47, 138, 82}},
}};

const Colour& colour_of(ActionKind kind) {
  return *std::find_if(kColours.begin(), kColours.end(),
                       [&](const Colour& colour) { return colour.kind == kind; });
}

/// `depth` from 0, the rank's first stage, to 1, its last.
std::string shade(const Colour& colour, double depth) {
  std::array<int, 3> mixed{};
  for (size_t i = 0; i < mixed.size(); ++i)
    mixed[i] = colour.light[i] + static_cast<int>(depth * (colour.deep[i] - colour.light[i]));
  return fmt::format("#{:02x}{:02x}{:02x}", mixed[0], mixed[1], mixed[2]);
}

std::vector<const Colour*> used_colours(const PipelineSchedule& schedule) {
  std::vector<const Colour*> used;
  for (const Colour& colour : kColours)
    for (const Action& action : schedule.ranks.front())
      if (action.kind == colour.kind) {
        used.push_back(&colour);
        break;
      }
  return used;
}

std::string text_at(double x, double y, const char* style, const std::string& words) {
  return fmt::format("<text x='{:.1f}' y='{:.1f}' {}>{}</text>\n", x, y, style, words);
}

std::string rectangle(double x, double y, double width, double height, const std::string& colour) {
  return fmt::format("<rect x='{:.1f}' y='{:.1f}' width='{:.1f}' height='{:.1f}' fill='{}'/>\n", x,
                     y, width, height, colour);
}

/// The name may be a path from a configuration.
std::string escape(const std::string& text) {
  std::string escaped;
  for (const char c : text)
    escaped += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return escaped;
}

}  // namespace

std::string schedule_title(const PipelineSchedule& schedule, const ActionTimes& times) {
  return fmt::format("{}: {} ranks, {} stages, {} micro-batches, bubble {:.1f} %", schedule.name,
                     schedule.rank_count(), schedule.stages, schedule.micro_batches,
                     100 * simulate(schedule, times).bubble());
}

std::string draw_schedule_text(const PipelineSchedule& schedule, const ActionTimes& times) {
  const Timeline timeline = simulate(schedule, times);
  size_t width = 2;
  for (const auto& actions : schedule.ranks)
    for (const Action& action : actions) width = std::max(width, action_text(action).size());
  std::string text = schedule_title(schedule, times) + "\n";
  for (size_t rank = 0; rank < timeline.ranks.size(); ++rank) {
    std::string line = fmt::format("rank {:<3}", rank);
    int64_t now = 0;
    const auto idle_until = [&](int64_t end) {
      for (; now < end; ++now) line += fmt::format(" {:<{}}", ".", width);
    };
    for (const Timeline::Block& block : timeline.ranks[rank]) {
      idle_until(block.begin);
      const size_t room = (block.end - block.begin) * (width + 1) - 1;
      std::string name = action_text(block.action);
      if (block.end - block.begin > 1) name.resize(room, '-');
      line += fmt::format(" {:<{}}", name, room);
      now = block.end;
    }
    idle_until(timeline.makespan());
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string draw_schedule_svg(const PipelineSchedule& schedule, const ActionTimes& times) {
  const Timeline timeline = simulate(schedule, times);
  const std::string title = escape(schedule_title(schedule, times));
  const double unit = std::min(
      kWidestUnit, kWidest / static_cast<double>(std::max<int64_t>(1, timeline.makespan())));
  const double right = kLeft + unit * static_cast<double>(timeline.makespan());
  const double bottom = kTop + kRow * static_cast<double>(timeline.ranks.size());
  const double width =
      std::max({right + 20, kLeft + 9.2 * static_cast<double>(title.size()), 560.0});
  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0:.0f} {1:.0f}' width='{0:.0f}' "
      "height='{1:.0f}' font-family='Helvetica, Arial, sans-serif' fill='{2}'>\n"
      "<rect width='100%' height='100%' fill='#ffffff'/>\n",
      width, bottom + 44, kInk);
  out += text_at(kLeft, 24, "font-size='17' font-weight='bold'", title);
  for (size_t rank = 0; rank < timeline.ranks.size(); ++rank) {
    const double y = kTop + kRow * static_cast<double>(rank);
    const std::vector<int64_t> stages = schedule.stages_of(static_cast<int64_t>(rank));
    out += text_at(kLeft - 10, y + 18, "text-anchor='end' font-size='12'",
                   fmt::format("rank {}", rank));
    out += rectangle(kLeft, y, right - kLeft, kRow - kRowGap, kIdleColour);
    for (const Timeline::Block& block : timeline.ranks[rank]) {
      const auto local = std::find(stages.begin(), stages.end(), block.action.stage);
      const double depth = stages.size() < 2 ? 0.5
                                             : static_cast<double>(local - stages.begin()) /
                                                   static_cast<double>(stages.size() - 1);
      const double x = kLeft + unit * static_cast<double>(block.begin);
      const double block_width = unit * static_cast<double>(block.end - block.begin);
      out += rectangle(x, y, std::max(0.5, block_width - 0.8), kRow - kRowGap,
                       shade(colour_of(block.action.kind), depth));
      if (block_width < kRoomForNumber) continue;
      out += text_at(x + block_width / 2, y + 17,
                     depth > 0.5 ? "text-anchor='middle' font-size='11' fill='#ffffff'"
                                 : "text-anchor='middle' font-size='11'",
                     std::to_string(block.action.micro_batch));
    }
  }
  double x = kLeft;
  for (const Colour* colour : used_colours(schedule)) {
    out += rectangle(x, bottom + 12, 13, 13, shade(*colour, 0.5));
    out += text_at(x + 19, bottom + 23, "font-size='12'", colour->words);
    x += 44 + 6.5 * static_cast<double>(std::string_view(colour->words).size());
  }
  out += text_at(x, bottom + 23, "font-size='12'",
                 schedule.stages > schedule.rank_count()
                     ? "numbers: micro-batches; stronger colours: later stages of a rank"
                     : "numbers: micro-batches");
  return out + "</svg>\n";
}

}  // namespace coeus
