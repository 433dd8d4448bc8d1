// What a rank exchanges with others: the flight recorder.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "coeus/comm/rank_state.h"

namespace coeus {

/// Remembers one rank's latest collectives, what it is in now, and how much it exchanged. For any
/// number of threads. It outlives its scopes.
class CollectiveLog {
 public:
  using Clock = std::chrono::steady_clock;

  /// From whom to whom an exchange of two ranks goes, by their numbers in the job.
  struct Route {
    std::int64_t from = -1;
    std::int64_t to = -1;
    std::int64_t tag = 0;
    auto operator<=>(const Route&) const = default;
  };

  /// A collective from its begin to its end. One that goes away without end() has failed.
  class Scope {
   public:
    Scope() = default;
    Scope(Scope&& other) noexcept;
    Scope& operator=(Scope&& other) noexcept;
    ~Scope() { close(/*failed=*/true); }

    /// From here on the rank is blocked until the collective is over.
    void wait();
    /// The collective is over.
    void end() { close(/*failed=*/false); }
    /// The rank's thread goes on, and its GPU waits: the collective is over when `is_over` says so,
    /// which is asked from any thread until it does. How long that took is not counted as waiting.
    void end_when(std::function<bool()> is_over);

   private:
    friend class CollectiveLog;
    Scope(CollectiveLog* log, std::int64_t id) : log_(log), id_(id) {}
    void close(bool failed);
    CollectiveLog* log_ = nullptr;
    std::int64_t id_ = 0;
  };

  /// Remembers the last `capacity` collectives that ended (comm.trace_buf_size).
  explicit CollectiveLog(std::size_t capacity = 20000);
  CollectiveLog(const CollectiveLog&) = delete;
  CollectiveLog& operator=(const CollectiveLog&) = delete;

  /// A group of ranks, to name in begin(). `name` and `ranks` (numbers in the job) are the same on
  /// all of them, and no other group of the job has both.
  std::int64_t add_group(std::string name, std::vector<std::int64_t> ranks);

  /// A collective of `kind` ("all_gather") of `what` ("layers.3 parameters") begins. `bytes`: of
  /// the tensor that it exchanges, as its ranks count them alike, except for "all_to_all", where
  /// each counts its own. The rank counts as blocked from Scope::wait on.
  [[nodiscard]] Scope begin(std::string_view kind, std::string_view what, std::int64_t group,
                            std::int64_t bytes);
  /// So does a send to, or a receive from, one rank of the group.
  [[nodiscard]] Scope begin(std::string_view kind, std::string_view what, std::int64_t group,
                            std::int64_t bytes, const Route& route);

  /// A step begins.
  void set_step(std::int64_t step);
  /// What the rank does beside collectives, until the next call: "forward", "save".
  void set_activity(std::string_view activity);
  /// How many steps began since the start.
  std::int64_t steps_begun() const;

  RankState state() const;
  /// How long the rank has been blocked in the collective that it is blocked in for the longest;
  /// zero if in none. Time before `since` does not count.
  Clock::duration longest_wait(Clock::time_point since = {}) const;
  /// Where a rank was when it learnt of another's end: "in all_gather of layers.3 over dp_shard",
  /// also when that has just failed for this reason; "in forward" or "in compute" otherwise.
  std::string place() const;

  /// What was exchanged since the start.
  struct Volume {
    std::int64_t calls = 0;
    std::int64_t bytes = 0;
    double waited_seconds = 0;  ///< the rank was blocked
  };
  /// By kind and group name.
  std::map<std::pair<std::string, std::string>, Volume> volume() const;

  /// All that is remembered as JSON: {"rank", "step", "activity", "groups", "collectives": [...]},
  /// oldest first, those that are open last.
  std::string to_json(std::int64_t rank) const;
  /// Writes it to a file, whose folders it makes. Throws Error when it cannot.
  void write(const std::filesystem::path& path, std::int64_t rank) const;

 private:
  struct Group {
    std::string name;
    std::vector<std::int64_t> ranks;
  };
  struct Record {
    std::string kind, what;
    std::int64_t group = 0;
    std::optional<Route> route;
    std::int64_t sequence = 0, bytes = 0, step = 0;
    Clock::time_point begun;
    std::optional<Clock::time_point> waits, ended;
    bool failed = false;
    std::function<bool()> is_over;  ///< of one that a GPU waits for
  };

  Scope begin_on(std::string_view kind, std::string_view what, std::int64_t group,
                 std::int64_t bytes, const std::optional<Route>& route);
  void wait(std::int64_t id);
  void close(std::int64_t id, bool failed);
  void end_when(std::int64_t id, std::function<bool()> is_over);
  /// These two with the mutex held. Closes what a GPU waited for and has, oldest first.
  void close_arrived();
  void close_locked(std::int64_t id, bool failed);
  /// Those of open_ that are not over, by whoever waits for them.
  std::vector<const Record*> still_open() const;
  std::string name_of(const Record& record) const;
  std::string numbered_name_of(const Record& record) const;
  std::string channel_of(std::int64_t group, const std::optional<Route>& route) const;
  nlohmann::json json_of(const Record& record, const char* state) const;

  const std::size_t capacity_;
  const Clock::time_point start_ = Clock::now();
  mutable std::mutex mutex_;
  std::vector<Group> groups_;
  std::map<std::pair<std::int64_t, std::optional<Route>>, std::int64_t> begun_;
  std::map<std::int64_t, Record> open_;  ///< by the order of their begin
  std::deque<Record> ended_;
  std::int64_t next_id_ = 0;
  std::optional<Record> last_ended_, last_failed_;
  std::map<std::pair<std::string, std::string>, Volume> volume_;
  std::int64_t step_ = 0, steps_begun_ = 0;
  std::string activity_;
};

}  // namespace coeus
