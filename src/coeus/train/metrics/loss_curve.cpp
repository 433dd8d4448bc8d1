#include "coeus/train/metrics/loss_curve.h"

#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "coeus/base/error.h"

namespace coeus {

namespace {

using nlohmann::json;

/// The line being read, for messages.
struct Place {
  std::string file;
  int64_t line = 0;

  template <class... Args>
  [[noreturn]] void complain(fmt::format_string<Args...> format, Args&&... args) const {
    throw DataError(
        fmt::format("{}:{}: {}", file, line, fmt::format(format, std::forward<Args>(args)...)));
  }
};

double json_number(const json& object, const char* key, const Place& place) {
  auto found = object.find(key);
  if (found == object.end()) place.complain("the object has no \"{}\"", key);
  if (found->is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!found->is_number()) place.complain("\"{}\" must be a number, got {}", key, found->dump());
  return found->get<double>();
}

void add_json_line(const std::string& line, const Place& place, LossCurve& curve) {
  json object;
  try {
    object = json::parse(line);
  } catch (const json::parse_error& error) {
    place.complain("not a JSON object: {}", error.what());
  }
  if (!object.is_object()) place.complain("not a JSON object: {}", line);
  if (object.contains("validation_loss") && !object.contains("loss")) return;
  auto step = object.find("step");
  if (step == object.end() || !step->is_number_integer())
    place.complain("the object needs a whole number \"step\"");
  CurvePoint point{.loss = json_number(object, "loss", place)};
  if (object.contains("grad_norm")) point.grad_norm = json_number(object, "grad_norm", place);
  curve[step->get<int64_t>()] = point;
}

std::vector<std::string_view> cells_of(std::string_view line) {
  std::vector<std::string_view> cells;
  for (bool more = true; more;) {
    size_t comma = line.find(',');
    more = comma != std::string_view::npos;
    std::string_view cell = line.substr(0, comma);
    size_t first = std::min(cell.find_first_not_of(" \t\""), cell.size());
    size_t last = cell.find_last_not_of(" \t\"");
    cells.push_back(cell.substr(first, last == std::string_view::npos ? 0 : last + 1 - first));
    if (more) line.remove_prefix(comma + 1);
  }
  return cells;
}

template <class Number>
Number cell_number(std::string_view cell, const char* column, const Place& place) {
  Number number{};
  auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), number);
  if (error != std::errc() || end != cell.data() + cell.size())
    place.complain("column {} must be a number, got \"{}\"", column, cell);
  return number;
}

/// Reads CSV lines under the columns that the header named.
class CsvReader {
 public:
  CsvReader(std::string_view header, const Place& place) : names_(names_of(header)) {
    step_ = column("step");
    loss_ = column("loss");
    grad_norm_ = column("grad_norm");
    if (!step_ || !loss_)
      place.complain("neither a JSON object nor a CSV header with step and loss: {}", header);
  }

  void add_line(std::string_view line, const Place& place, LossCurve& curve) const {
    std::vector<std::string_view> cells = cells_of(line);
    if (cells.size() != names_.size())
      place.complain("{} columns where the header has {}", cells.size(), names_.size());
    CurvePoint point{.loss = cell_number<double>(cells[*loss_], "loss", place)};
    if (grad_norm_) point.grad_norm = cell_number<double>(cells[*grad_norm_], "grad_norm", place);
    curve[cell_number<int64_t>(cells[*step_], "step", place)] = point;
  }

 private:
  static std::vector<std::string> names_of(std::string_view header) {
    std::vector<std::string_view> cells = cells_of(header);
    return {cells.begin(), cells.end()};
  }
  std::optional<size_t> column(std::string_view name) const {
    for (size_t i = 0; i < names_.size(); ++i)
      if (names_[i] == name) return i;
    return std::nullopt;
  }
  std::vector<std::string> names_;
  std::optional<size_t> step_, loss_, grad_norm_;
};

}  // namespace

LossCurve read_loss_curve(const std::filesystem::path& path) {
  std::error_code ignored;
  COEUS_CHECK_DATA(!std::filesystem::is_directory(path, ignored),
                   "{} is a folder: name a metrics.jsonl or a CSV file", path.string());
  std::ifstream file(path);
  COEUS_CHECK_DATA(file, "cannot open {}: {}", path.string(),
                   std::generic_category().message(errno));
  LossCurve curve;
  std::optional<CsvReader> csv;
  Place place{path.string()};
  for (std::string line; std::getline(file, line);) {
    ++place.line;
    if (line.ends_with('\r')) line.pop_back();
    if (place.line == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    if (place.line == 1 && line[0] != '{')
      csv.emplace(line, place);
    else if (csv)
      csv->add_line(line, place, curve);
    else
      add_json_line(line, place, curve);
  }
  COEUS_CHECK_DATA(!file.bad(), "cannot read {}: {}", path.string(),
                   std::generic_category().message(errno));
  COEUS_CHECK_DATA(!curve.empty(), "{} holds no step with a loss", path.string());
  return curve;
}

}  // namespace coeus
