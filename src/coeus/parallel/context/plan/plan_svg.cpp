#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>

#include "coeus/mask/picture.h"
#include "coeus/parallel/context/plan/draw_plan.h"

namespace coeus {
namespace {

constexpr double kLeft = 76;
constexpr double kTop = 112;
constexpr double kGap = 36;  ///< between masks
constexpr double kWorkWidth = 190;
constexpr double kNeededWidth = 110;
constexpr const char* kGround = "#f0f2f6";
constexpr const char* kInk = "#1d2433";
/// Cells a side of a mask; more could not be told apart.
constexpr int64_t kMostCells = 512;
/// How strongly cells are painted that show up to a third, up to two thirds, less than all, and
/// all.
constexpr std::array kStrengths = {0.4, 0.6, 0.8, 1.0};

/// How strongly the bars show the work under a mask.
double tone_of(size_t mask) { return std::pow(0.55, static_cast<double>(mask)); }

std::string escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

/// A colour of the OKLab space (Ottosson, 2020), in which equal steps look equally large.
std::string colour_of_oklab(double lightness, double a, double b) {
  const auto cubed = [](double x) { return x * x * x; };
  const double l = cubed(lightness + 0.3963377774 * a + 0.2158037573 * b);
  const double m = cubed(lightness - 0.1055613458 * a - 0.0638541728 * b);
  const double s = cubed(lightness - 0.0894841775 * a - 1.2914855480 * b);
  const auto channel = [](double linear) {
    const double value =
        linear <= 0.0031308 ? 12.92 * linear : 1.055 * std::pow(linear, 1 / 2.4) - 0.055;
    return static_cast<int>(std::lround(255 * std::clamp(value, 0.0, 1.0)));
  };
  return fmt::format("#{:02x}{:02x}{:02x}",
                     channel(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
                     channel(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
                     channel(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s));
}

/// Once round the wheel of hues from blue, light and dark in turn so that neighbours stand apart.
std::string rank_colour(size_t rank, size_t ranks) {
  constexpr double kChroma = 0.14;
  const double turn = static_cast<double>(rank) / static_cast<double>(ranks + 1);
  const double hue = 2 * std::numbers::pi * (0.71 + turn);
  return colour_of_oklab(rank % 2 == 0 ? 0.58 : 0.73, kChroma * std::cos(hue),
                         kChroma * std::sin(hue));
}

/// The rank that a row of cells is painted for: it owns most of its tokens, and of those with
/// equally many it was painted least, so that all ranks show where their parts are small.
std::vector<size_t> owners_of_cells(const ContextPlan& plan, int64_t tokens, int64_t cell) {
  std::vector<size_t> owners;
  std::vector<int64_t> painted(plan.ranks.size());
  for (int64_t begin = 0; begin < tokens; begin += cell) {
    const TokenRuns part = {{begin, std::min(begin + cell, tokens)}};
    size_t owner = 0;
    int64_t most = -1;
    for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
      const int64_t own = count(intersection(plan.ranks[rank], part));
      if (own < most || (own == most && painted[rank] >= painted[owner])) continue;
      owner = rank;
      most = own;
    }
    ++painted[owner];
    owners.push_back(owner);
  }
  return owners;
}

struct Page {
  const ContextRow& row;
  const ContextPlan& plan;
  const PlanFigures figures;
  double side = 0;  ///< of a mask
  std::string out = {};

  size_t ranks() const { return plan.ranks.size(); }
  double scale() const { return side / static_cast<double>(std::max<int64_t>(1, row.tokens())); }
  double y(int64_t token) const { return kTop + static_cast<double>(token) * scale(); }
  double bottom() const { return kTop + side; }
  double mask_left(size_t mask) const { return kLeft + static_cast<double>(mask) * (side + kGap); }
  double charts_left() const { return mask_left(row.masks.size()) + 30; }
  double width() const { return charts_left() + kWorkWidth + kNeededWidth + 150; }

  void rectangle(double x, double y, double width, double height, const std::string& colour,
                 double opacity = 1) {
    out += fmt::format(
        "<rect x='{:.2f}' y='{:.2f}' width='{:.2f}' height='{:.2f}' fill='{}' "
        "fill-opacity='{:.2f}'/>\n",
        x, y, width, height, colour, opacity);
  }
  void line(double x0, double y0, double x1, double y1, const char* style) {
    out += fmt::format("<line x1='{:.2f}' y1='{:.2f}' x2='{:.2f}' y2='{:.2f}' {}/>\n", x0, y0, x1,
                       y1, style);
  }
  void text(double x, double y, double size, const std::string& words, const char* style = "") {
    out += fmt::format("<text x='{:.2f}' y='{:.2f}' font-size='{:.1f}' {}>{}</text>\n", x, y, size,
                       style, escape(words));
  }
};

/// The strokes of a picture's cells, [ranks][strengths].
std::vector<std::array<std::string, kStrengths.size()>> paths_of(const MaskPicture& picture,
                                                                 const std::vector<size_t>& owners,
                                                                 size_t ranks) {
  std::vector<std::array<std::string, kStrengths.size()>> paths(ranks);
  for (int64_t i = 0; i < picture.rows(); ++i) {
    const auto strength_of = [&](int64_t j) -> int {
      const int64_t visible = picture.visible[i * picture.columns() + j];
      if (visible == 0) return -1;
      return visible == picture.cell_area(i, j) ? 3 : static_cast<int>(3 * picture.share(i, j));
    };
    for (int64_t j = 0; j < picture.columns();) {
      const int strength = strength_of(j);
      int64_t end = j + 1;
      while (end < picture.columns() && strength_of(end) == strength) ++end;
      if (strength >= 0)
        paths[owners[i]][strength] += fmt::format("M{} {}h{}v1h-{}z", j, i, end - j, end - j);
      j = end;
    }
  }
  return paths;
}

/// With the tone in which the bars show its work.
void draw_mask_name(Page& page, size_t number) {
  const LayersMask& mask = page.row.masks[number];
  const std::string words = fmt::format("{}, {}", mask.name, layers_text(mask.layers));
  const double left = page.mask_left(number);
  page.rectangle(left, kTop - 35, 12, 12, "#4a5368", tone_of(number));
  page.text(left + 18, kTop - 24,
            std::min(13.0, page.side / 0.55 / static_cast<double>(words.size())), words);
}

void draw_mask(Page& page, size_t number, const std::vector<size_t>& owners, int64_t cell) {
  const MaskPicture picture = picture_of(*page.row.masks[number].row, cell, cell);
  const double left = page.mask_left(number);
  page.rectangle(left, kTop, page.side, page.side, kGround);
  // In units of cells; the last ones may hold less and are cut off.
  page.out += fmt::format(
      "<svg x='{0:.2f}' y='{1:.2f}' width='{2:.2f}' height='{2:.2f}' viewBox='0 0 {3:.4f} {3:.4f}' "
      "preserveAspectRatio='none' shape-rendering='crispEdges'>\n",
      left, kTop, page.side, static_cast<double>(page.row.tokens()) / static_cast<double>(cell));
  const auto paths = paths_of(picture, owners, page.ranks());
  for (size_t rank = 0; rank < page.ranks(); ++rank) {
    for (size_t i = 0; i < kStrengths.size(); ++i) {
      if (paths[rank][i].empty()) continue;
      page.out += fmt::format("<path fill='{}' fill-opacity='{}' d='{}'/>\n",
                              rank_colour(rank, page.ranks()), kStrengths[i], paths[rank][i]);
    }
  }
  page.out += "</svg>\n";
  if (page.row.masks.size() > 1) draw_mask_name(page, number);
}

/// Who owns the queries, beside the first mask, with numbers where there is room.
void draw_owners(Page& page, const std::vector<size_t>& owners, int64_t cell) {
  constexpr double kRoomForANumber = 11;
  page.out += "<g shape-rendering='crispEdges'>\n";
  const auto cells = static_cast<int64_t>(owners.size());
  for (int64_t begin = 0, end = 0; begin < cells; begin = end) {
    while (end < cells && owners[end] == owners[begin]) ++end;
    const double top = page.y(begin * cell);
    page.rectangle(kLeft - 18, top, 12, page.y(std::min(end * cell, page.row.tokens())) - top,
                   rank_colour(owners[begin], page.ranks()));
  }
  page.out += "</g>\n";
  for (size_t rank = 0; rank < page.ranks(); ++rank) {
    for (const TokenRun& run : page.plan.ranks[rank]) {
      if (static_cast<double>(run.size()) * page.scale() < kRoomForANumber) continue;
      page.text(kLeft - 23, (page.y(run.begin) + page.y(run.end)) / 2 + 4, 11,
                fmt::format("{}", rank), "text-anchor='end'");
    }
  }
  page.text(kLeft - 6, kTop - 8, 11, "rank", "text-anchor='end'");
}

void draw_documents(Page& page) {
  constexpr size_t kMostBoundaries = 128;
  constexpr double kRoomForAName = 38;
  std::vector<int64_t> ends = document_boundaries(*page.row.layout.query());
  if (ends.empty() || ends.size() > kMostBoundaries) return;
  const char* const style = "stroke='#1d2433' stroke-width='0.8' stroke-dasharray='4 3'";
  for (size_t mask = 0; mask < page.row.masks.size(); ++mask) {
    const double left = page.mask_left(mask);
    for (const int64_t end : ends) {
      const double at = static_cast<double>(end) * page.scale();
      page.line(left, kTop + at, left + page.side, kTop + at, style);
      page.line(left + at, kTop - 6, left + at, page.bottom(), style);
    }
  }
  ends.push_back(page.row.tokens());
  int64_t begin = 0;
  for (const int64_t end : ends) {
    const double middle = static_cast<double>(begin + end) / 2 * page.scale();
    if (static_cast<double>(end - begin) * page.scale() >= kRoomForAName)
      page.text(kLeft + middle, kTop - 8, 11,
                fmt::format("doc {}", page.row.layout.query()->document[begin]),
                "text-anchor='middle'");
    begin = end;
  }
}

/// Where the bars of the charts stand, one a rank.
struct Bars {
  double pitch;
  double height() const { return 0.74 * pitch; }
  double letters() const { return std::min(12.0, 0.95 * pitch); }
  double top(size_t rank) const { return kTop + static_cast<double>(rank) * pitch; }
  double base(size_t rank) const { return top(rank) + height() / 2 + 0.36 * letters(); }
};

Bars bars_of(const Page& page) {
  return {std::min(40.0, page.side / static_cast<double>(std::max<size_t>(1, page.ranks())))};
}

void draw_work(Page& page) {
  const Bars bars = bars_of(page);
  const double left = page.charts_left();
  const double mean = std::max(1.0, page.figures.mean_work());
  const double unit = kWorkWidth / std::max(1.1, page.figures.max_over_mean()) / mean;
  std::vector<double> ends(page.ranks(), left);
  for (size_t i = 0; i < page.row.masks.size(); ++i) {
    const ContextRow alone(page.row.layout, {page.row.masks[i]});
    const std::vector<int64_t> work = work_by_rank(alone, page.plan);
    for (size_t rank = 0; rank < page.ranks(); ++rank) {
      const double width = unit * static_cast<double>(work[rank]);
      page.rectangle(ends[rank], bars.top(rank), width, bars.height(),
                     rank_colour(rank, page.ranks()), tone_of(i));
      ends[rank] += width;
    }
  }
  for (size_t rank = 0; rank < page.ranks(); ++rank) {
    page.text(left - 6, bars.base(rank), bars.letters(), fmt::format("{}", rank),
              "text-anchor='end'");
    page.text(left + kWorkWidth + 5, bars.base(rank), bars.letters(),
              fmt::format("{:.2f}", static_cast<double>(page.figures.work[rank]) / mean));
  }
  page.line(left + unit * mean, kTop - 8, left + unit * mean, bars.top(page.ranks()) + 4,
            "stroke='#1d2433' stroke-width='1.2' stroke-dasharray='5 3'");
  page.text(left, kTop - 24, 13, "work of each rank");
  page.text(left + unit * mean, kTop - 11, 11, "mean", "text-anchor='middle'");
}

void draw_needed(Page& page) {
  const Bars bars = bars_of(page);
  const double left = page.charts_left() + kWorkWidth + 52;
  page.text(left, kTop - 24, 13, "keys and values needed");
  page.text(left, kTop - 11, 11, "of all that others have");
  for (size_t rank = 0; rank < page.ranks(); ++rank) {
    const double share = static_cast<double>(page.figures.needed[rank]) /
                         static_cast<double>(std::max<int64_t>(1, page.figures.all[rank]));
    page.rectangle(left, bars.top(rank), kNeededWidth, bars.height(), kGround);
    page.rectangle(left, bars.top(rank), share * kNeededWidth, bars.height(),
                   rank_colour(rank, page.ranks()));
    page.text(left + kNeededWidth + 5, bars.base(rank), bars.letters(),
              fmt::format("{:.0f} %", 100 * share));
  }
}

void draw_words(Page& page, const PlanReport& report, const std::string& title) {
  page.text(kLeft, 34, 20, title, "font-weight='bold'");
  page.text(kLeft, 58, 14,
            fmt::format("{} tokens over {} ranks, balancer {}: {}", page.row.tokens(), page.ranks(),
                        name_of(report.balancer), balance_text(page.figures)));
  double y = page.bottom() + 24;
  for (size_t i = 0; i < report.costs.size(); ++i, y += 18) {
    const LayersMask& mask = page.row.masks[i];
    page.text(kLeft, y, 12,
              (page.row.masks.size() > 1 ? mask.name + ": " : "") + cost_text(report.costs[i]));
  }
  if (!report.costs.empty()) page.text(kLeft, y, 12, expected_text(report, page.row));
}

}  // namespace

std::string plan_svg(const ContextRow& row, const ContextPlan& plan, const PlanReport& report,
                     const std::string& title) {
  check_report(report, row);
  const size_t masks = row.masks.size();
  Page page{row, plan, figures_of({row}, {plan}), masks == 1 ? 560.0 : masks == 2 ? 420.0 : 320.0};
  const double width = std::max(page.width(), kLeft + 13 * static_cast<double>(title.size()));
  const double height = page.bottom() + 30 + 18 * static_cast<double>(report.costs.size() + 1);
  page.out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0:.0f} {1:.0f}' width='{0:.0f}' "
      "height='{1:.0f}' font-family='Helvetica, Arial, sans-serif' fill='{2}'>\n"
      "<rect width='100%' height='100%' fill='#ffffff'/>\n",
      width, height, kInk);
  const int64_t cell = std::max<int64_t>(1, (row.tokens() + kMostCells - 1) / kMostCells);
  const std::vector<size_t> owners = owners_of_cells(plan, row.tokens(), cell);
  for (size_t mask = 0; mask < masks; ++mask) draw_mask(page, mask, owners, cell);
  draw_owners(page, owners, cell);
  draw_documents(page);
  draw_work(page);
  draw_needed(page);
  draw_words(page, report, title);
  return page.out + "</svg>\n";
}

}  // namespace coeus
