#include "coeus/train/trace_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"

namespace coeus {

namespace {

using nlohmann::json;

/// The heading of our rows: a process of the trace, numbered above what a system gives to real
/// ones.
constexpr std::int64_t kProcess = 1'000'000'000;

json heading(const char* kind, std::int64_t row, const json& arguments) {
  return {{"ph", "M"}, {"name", kind}, {"pid", kProcess}, {"tid", row}, {"args", arguments}};
}

/// Events of a Chrome trace, which counts microseconds since `base_ns`.
std::vector<json> events_of(std::vector<TraceRange> ranges, std::int64_t rank,
                            std::int64_t base_ns) {
  std::vector<json> events = {
      heading("process_name", 0, {{"name", fmt::format("rank {}", rank)}}),
      heading("process_labels", 0, {{"labels", "steps, layers, exchanges"}}),
      heading("process_sort_index", 0, {{"sort_index", -1}})};
  // A range before those that it holds.
  std::stable_sort(ranges.begin(), ranges.end(), [](const TraceRange& a, const TraceRange& b) {
    return std::pair(a.begin_ns, -a.end_ns) < std::pair(b.begin_ns, -b.end_ns);
  });
  std::map<std::string, std::vector<TraceRange>> rows;
  for (TraceRange& range : ranges) rows[range.row].push_back(std::move(range));
  // Steps above layers above exchanges.
  std::vector<std::string> names;
  for (const auto& [name, of_row] : rows) names.push_back(name);
  std::reverse(names.begin(), names.end());
  std::int64_t first_row = 1;
  for (const std::string& name : names) {
    const std::vector<TraceRange>& of_row = rows[name];
    const std::vector<int> lanes = lanes_of(of_row);
    const int count = *std::max_element(lanes.begin(), lanes.end()) + 1;
    for (int lane = 0; lane < count; ++lane) {
      events.push_back(heading("thread_name", first_row + lane, {{"name", name}}));
      events.push_back(
          heading("thread_sort_index", first_row + lane, {{"sort_index", first_row + lane}}));
    }
    for (size_t i = 0; i < of_row.size(); ++i) {
      const TraceRange& range = of_row[i];
      json event = {{"ph", "X"},
                    {"cat", "coeus"},
                    {"name", range.name},
                    {"pid", kProcess},
                    {"tid", first_row + lanes[i]},
                    {"ts", static_cast<double>(range.begin_ns - base_ns) / 1e3},
                    {"dur", static_cast<double>(range.end_ns - range.begin_ns) / 1e3}};
      if (range.bytes > 0) event["args"] = {{"bytes", range.bytes}};
      events.push_back(std::move(event));
    }
    first_row += count;
  }
  return events;
}

/// When the trace's clock begins, which files of newer profilers say; 0 is 1970.
std::int64_t base_of(const std::string& trace) {
  constexpr std::string_view kKey = "\"baseTimeNanoseconds\":";
  const size_t place = trace.find(kKey);
  return place == std::string::npos ? 0 : std::stoll(trace.substr(place + kKey.size(), 32));
}

}  // namespace

std::vector<int> lanes_of(const std::vector<TraceRange>& ranges) {
  std::vector<int> lanes;
  std::vector<std::vector<std::int64_t>> open;  // of each lane, the ends of ranges in each other
  for (const TraceRange& range : ranges) {
    size_t lane = 0;
    for (; lane < open.size(); ++lane) {
      std::vector<std::int64_t>& ends = open[lane];
      while (!ends.empty() && ends.back() <= range.begin_ns) ends.pop_back();
      if (ends.empty() || range.end_ns <= ends.back()) break;
    }
    if (lane == open.size()) open.emplace_back();
    open[lane].push_back(range.end_ns);
    lanes.push_back(static_cast<int>(lane));
  }
  return lanes;
}

void write_trace(const std::filesystem::path& file, std::int64_t rank,
                 std::vector<TraceRange> ranges,
                 const std::function<void(const std::string& path)>& save_profile) {
  const std::filesystem::path unfinished = file.string() + ".tmp";
  try {
    std::filesystem::create_directories(file.parent_path());
    save_profile(unfinished.string());
    std::ifstream in(unfinished, std::ios::binary);
    std::string trace{std::istreambuf_iterator<char>(in), {}};
    in.close();
    constexpr std::string_view kEvents = "\"traceEvents\": [";
    const size_t place = trace.find(kEvents);
    COEUS_CHECK(place != std::string::npos, "the profiler wrote {} bytes that are no Chrome trace",
                trace.size());
    std::string own;
    for (const json& event : events_of(std::move(ranges), rank, base_of(trace)))
      own += fmt::format("\n  {},", event.dump());
    trace.insert(place + kEvents.size(), own);
    // The profiler names the trace for the file that it writes.
    if (const size_t name = trace.rfind(unfinished.string()); name != std::string::npos)
      trace.replace(name, unfinished.string().size(), file.string());
    std::ofstream out(unfinished, std::ios::binary | std::ios::trunc);
    out.exceptions(std::ios::badbit | std::ios::failbit);
    out << trace;
    out.close();
    std::filesystem::rename(unfinished, file);
  } catch (const std::exception& error) {
    std::error_code ignored;
    std::filesystem::remove(unfinished, ignored);
    throw Error(fmt::format("[write_trace] {} cannot be written: {}", file.string(), error.what()));
  }
}

}  // namespace coeus
