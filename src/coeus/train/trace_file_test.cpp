#include "coeus/train/trace_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using testing::ElementsAre;

TraceRange range(int64_t begin, int64_t end, const std::string& row = "row") {
  return {.row = row,
          .name = fmt::format("{} to {}", begin, end),
          .begin_ns = begin,
          .end_ns = end,
          .bytes = 7};
}

bool overlap_without_nesting(const TraceRange& a, const TraceRange& b) {
  const bool apart = a.end_ns <= b.begin_ns || b.end_ns <= a.begin_ns;
  const bool a_in_b = b.begin_ns <= a.begin_ns && a.end_ns <= b.end_ns;
  const bool b_in_a = a.begin_ns <= b.begin_ns && b.end_ns <= a.end_ns;
  return !apart && !a_in_b && !b_in_a;
}

TEST(TraceFile, RangesOfALaneAreApartOrNested) {
  EXPECT_THAT(lanes_of({range(0, 10), range(2, 5), range(5, 10), range(10, 12)}),
              ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(lanes_of({range(0, 10), range(5, 15), range(9, 12), range(11, 13)}),
              ElementsAre(0, 1, 1, 0));
  std::mt19937 random(4);
  for (int round = 0; round < 50; ++round) {
    std::vector<TraceRange> ranges;
    for (int i = 0; i < 30; ++i) {
      const auto begin = static_cast<int64_t>(random() % 100);
      ranges.push_back(range(begin, begin + 1 + static_cast<int64_t>(random() % 20)));
    }
    std::stable_sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) {
      return std::pair(a.begin_ns, -a.end_ns) < std::pair(b.begin_ns, -b.end_ns);
    });
    const std::vector<int> lanes = lanes_of(ranges);
    for (size_t i = 0; i < ranges.size(); ++i)
      for (size_t j = 0; j < i; ++j)
        EXPECT_FALSE(lanes[i] == lanes[j] && overlap_without_nesting(ranges[i], ranges[j]))
            << ranges[j].name << " and " << ranges[i].name;
  }
}

void save(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

TEST(TraceFile, HoldsTheProfileAndTheRangesOnItsClock) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "iteration_4" / "rank3_trace.json";
  write_trace(file, 3, {range(5'000, 8'500, "exchanges"), range(6'000, 7'000, "layers")},
              [](const std::string& path) {
                save(path, R"({"schemaVersion": 1, "traceEvents": [
  {"ph": "X", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 2.5, "dur": 1}
], "baseTimeNanoseconds": 4000})");
              });
  const auto trace = nlohmann::json::parse(std::ifstream(file));
  std::map<std::string, nlohmann::json> events;
  std::map<int64_t, std::string> rows;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") == "X") events[event.at("name")] = event;
    if (event.at("name") == "thread_name") rows[event.at("tid")] = event.at("args").at("name");
  }
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events.at("5000 to 8500").at("ts"), 1.0);
  EXPECT_EQ(events.at("5000 to 8500").at("dur"), 3.5);
  EXPECT_EQ(events.at("5000 to 8500").at("args").at("bytes"), 7);
  EXPECT_EQ(rows.at(events.at("5000 to 8500").at("tid")), "exchanges");
  EXPECT_EQ(rows.at(events.at("6000 to 7000").at("tid")), "layers");
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(file.parent_path()))
    names.push_back(entry.path().filename());
  EXPECT_THAT(names, ElementsAre("rank3_trace.json"));
}

TEST(TraceFile, LeavesNothingWhenItCannotBeWritten) {
  const TemporaryFolder folder;
  const auto write = [&](const std::filesystem::path& file) {
    write_trace(file, 0, {}, [](const std::string& path) { save(path, "no trace"); });
  };
  EXPECT_THROW(write(folder.path() / "rank0_trace.json"), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  save(folder.path() / "file", "in the way");
  EXPECT_THROW(write(folder.path() / "file" / "rank0_trace.json"), Error);
}

}  // namespace
}  // namespace coeus
