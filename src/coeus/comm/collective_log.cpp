#include "coeus/comm/collective_log.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {

namespace {

double seconds(CollectiveLog::Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

CollectiveLog::Scope::Scope(Scope&& other) noexcept
    : log_(std::exchange(other.log_, nullptr)), id_(other.id_) {}

CollectiveLog::Scope& CollectiveLog::Scope::operator=(Scope&& other) noexcept {
  if (this == &other) return *this;
  close(/*failed=*/true);
  log_ = std::exchange(other.log_, nullptr);
  id_ = other.id_;
  return *this;
}

void CollectiveLog::Scope::wait() {
  if (log_) log_->wait(id_);
}

void CollectiveLog::Scope::end_when(std::function<bool()> is_over) {
  if (log_) std::exchange(log_, nullptr)->end_when(id_, std::move(is_over));
}

void CollectiveLog::Scope::close(bool failed) {
  if (log_) std::exchange(log_, nullptr)->close(id_, failed);
}

CollectiveLog::CollectiveLog(std::size_t capacity) : capacity_(capacity) {}

std::int64_t CollectiveLog::add_group(std::string name, std::vector<std::int64_t> ranks) {
  const std::lock_guard lock(mutex_);
  groups_.push_back({std::move(name), std::move(ranks)});
  return static_cast<std::int64_t>(groups_.size()) - 1;
}

CollectiveLog::Scope CollectiveLog::begin(std::string_view kind, std::string_view what,
                                          std::int64_t group, std::int64_t bytes) {
  return begin_on(kind, what, group, bytes, std::nullopt);
}

CollectiveLog::Scope CollectiveLog::begin(std::string_view kind, std::string_view what,
                                          std::int64_t group, std::int64_t bytes,
                                          const Route& route) {
  return begin_on(kind, what, group, bytes, route);
}

CollectiveLog::Scope CollectiveLog::begin_on(std::string_view kind, std::string_view what,
                                             std::int64_t group, std::int64_t bytes,
                                             const std::optional<Route>& route) {
  const std::lock_guard lock(mutex_);
  close_arrived();
  COEUS_ASSERT(group >= 0 && group < static_cast<std::int64_t>(groups_.size()));
  Record record{
      .kind = std::string(kind), .what = std::string(what), .group = group, .route = route};
  record.sequence = ++begun_[{group, route}];
  record.bytes = bytes;
  record.step = step_;
  record.begun = Clock::now();
  Volume& volume = volume_[{record.kind, groups_[group].name}];
  ++volume.calls;
  volume.bytes += bytes;
  open_.emplace(next_id_, std::move(record));
  return {this, next_id_++};
}

void CollectiveLog::wait(std::int64_t id) {
  const std::lock_guard lock(mutex_);
  Record& record = open_.at(id);
  if (!record.waits) record.waits = Clock::now();
}

void CollectiveLog::end_when(std::int64_t id, std::function<bool()> is_over) {
  const std::lock_guard lock(mutex_);
  open_.at(id).is_over = std::move(is_over);
}

void CollectiveLog::close(std::int64_t id, bool failed) {
  const std::lock_guard lock(mutex_);
  close_locked(id, failed);
}

void CollectiveLog::close_arrived() {
  for (auto at = open_.begin(); at != open_.end();) {
    const std::int64_t id = at->first;
    const std::function<bool()>& is_over = at++->second.is_over;
    if (!is_over) continue;
    // What follows has hardly arrived before it.
    if (!is_over()) return;
    close_locked(id, /*failed=*/false);
  }
}

void CollectiveLog::close_locked(std::int64_t id, bool failed) {
  const auto found = open_.find(id);
  Record record = std::move(found->second);
  open_.erase(found);
  record.ended = Clock::now();
  record.failed = failed;
  if (record.waits && !record.is_over) {
    volume_[{record.kind, groups_[record.group].name}].waited_seconds +=
        seconds(*record.ended - *record.waits);
  }
  record.is_over = nullptr;  // and with it what it asks
  (failed ? last_failed_ : last_ended_) = record;
  if (capacity_ == 0) return;
  if (ended_.size() == capacity_) ended_.pop_front();
  ended_.push_back(std::move(record));
}

std::vector<const CollectiveLog::Record*> CollectiveLog::still_open() const {
  std::vector<const Record*> records;
  for (const auto& [id, record] : open_)
    if (!record.is_over || !record.is_over()) records.push_back(&record);
  return records;
}

void CollectiveLog::set_step(std::int64_t step) {
  const std::lock_guard lock(mutex_);
  step_ = step;
  ++steps_begun_;
}

void CollectiveLog::set_activity(std::string_view activity) {
  const std::lock_guard lock(mutex_);
  activity_ = activity;
}

std::int64_t CollectiveLog::steps_begun() const {
  const std::lock_guard lock(mutex_);
  return steps_begun_;
}

RankState CollectiveLog::state() const {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  RankState state{.step = step_, .activity = activity_};
  if (last_ended_) state.last_ended = numbered_name_of(*last_ended_);
  state.last_ended_seconds = seconds(now - (last_ended_ ? *last_ended_->ended : start_));
  for (const Record* record : still_open()) {
    OpenCollective open{.name = numbered_name_of(*record),
                        .channel = channel_of(record->group, record->route),
                        .sequence = record->sequence,
                        .kind = record->kind,
                        .bytes = record->bytes,
                        .ranks = groups_[record->group].ranks,
                        .waiting = record->waits.has_value(),
                        .seconds = seconds(now - record->waits.value_or(record->begun))};
    if (record->route) open.ranks = {record->route->from, record->route->to};
    state.open.push_back(std::move(open));
  }
  for (const auto& [channel, count] : begun_)
    state.begun[channel_of(channel.first, channel.second)] += count;
  return state;
}

CollectiveLog::Clock::duration CollectiveLog::longest_wait(Clock::time_point since) const {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  Clock::duration longest{};
  for (const Record* record : still_open())
    if (record->waits) longest = std::max(longest, now - std::max(*record->waits, since));
  return longest;
}

std::string CollectiveLog::place() const {
  const std::lock_guard lock(mutex_);
  const Record* in = nullptr;
  for (const Record* record : still_open())
    if (record->waits && (!in || *record->waits < *in->waits)) in = record;
  // What failed last is why the rank is where it is now, unless it has gone on since.
  if (!in && last_failed_ && (!last_ended_ || *last_ended_->ended <= *last_failed_->ended))
    in = &*last_failed_;
  if (in) return "in " + name_of(*in);
  return "in " + (activity_.empty() ? "compute" : activity_);
}

std::map<std::pair<std::string, std::string>, CollectiveLog::Volume> CollectiveLog::volume() const {
  const std::lock_guard lock(mutex_);
  return volume_;
}

std::string CollectiveLog::name_of(const Record& record) const {
  std::string name =
      fmt::format("{} of {} over {}", record.kind, record.what, groups_[record.group].name);
  if (record.route)
    name += fmt::format(" from rank {} to {}", record.route->from, record.route->to);
  return name;
}

std::string CollectiveLog::numbered_name_of(const Record& record) const {
  std::string name = name_of(record);
  return name.insert(record.kind.size(), fmt::format(" #{}", record.sequence));
}

std::string CollectiveLog::channel_of(std::int64_t group, const std::optional<Route>& route) const {
  std::string channel =
      fmt::format("{} of ranks {}", groups_[group].name, fmt::join(groups_[group].ranks, ","));
  if (route) channel += fmt::format(", {} to {}, tag {}", route->from, route->to, route->tag);
  return channel;
}

nlohmann::json CollectiveLog::json_of(const Record& record, const char* state) const {
  const auto since_start = [this](Clock::time_point time) { return seconds(time - start_); };
  nlohmann::json json = {{"kind", record.kind},   {"what", record.what},
                         {"group", record.group}, {"sequence", record.sequence},
                         {"bytes", record.bytes}, {"step", record.step},
                         {"state", state},        {"begun_seconds", since_start(record.begun)}};
  if (record.waits) json["waits_seconds"] = since_start(*record.waits);
  if (record.ended) json["ended_seconds"] = since_start(*record.ended);
  if (record.route) {
    json["from"] = record.route->from;
    json["to"] = record.route->to;
    json["tag"] = record.route->tag;
  }
  return json;
}

std::string CollectiveLog::to_json(std::int64_t rank) const {
  const std::lock_guard lock(mutex_);
  nlohmann::json json = {{"rank", rank},
                         {"step", step_},
                         {"activity", activity_},
                         {"seconds_since_start", seconds(Clock::now() - start_)},
                         {"groups", nlohmann::json::array()},
                         {"collectives", nlohmann::json::array()}};
  for (const Group& group : groups_)
    json["groups"].push_back({{"name", group.name}, {"ranks", group.ranks}});
  for (const Record& record : ended_)
    json["collectives"].push_back(json_of(record, record.failed ? "failed" : "ended"));
  for (const Record* record : still_open())
    json["collectives"].push_back(json_of(*record, record->waits ? "waiting" : "begun"));
  return json.dump(1);
}

void CollectiveLog::write(const std::filesystem::path& path, std::int64_t rank) const {
  std::error_code ignored;  // the file's own error says more
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), ignored);
  std::ofstream file(path, std::ios::binary);
  file << to_json(rank) << '\n';
  file.close();
  COEUS_CHECK(!file.fail(), "[CollectiveLog::write] cannot write {}", path.string());
}

}  // namespace coeus
