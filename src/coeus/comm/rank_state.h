// What one rank of a job does at one moment, as it tells it to the others.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace coeus {

/// A collective that a rank has begun and not ended.
struct OpenCollective {
  std::string name;            ///< "all_gather of layers.3 over dp_shard"
  std::string channel;         ///< the same text on all ranks that it concerns
  std::int64_t sequence = 0;   ///< its number in the channel, from 1
  std::string kind;            ///< "all_gather"
  std::int64_t bytes = 0;      ///< what this rank said it exchanges
  std::vector<int64_t> ranks;  ///< whom it concerns, by their numbers in the job
  bool waiting = false;        ///< the rank is blocked until it is over
  double seconds = 0;          ///< since it was begun, or since the rank waits for it
};

/// A rank's state.
struct RankState {
  std::int64_t step = 0;          ///< 0 before the first
  std::string activity;           ///< what it does beside collectives: "forward", "save"; may be ""
  std::string last_ended;         ///< the collective it left last, "" if none
  double last_ended_seconds = 0;  ///< since then; since the start if none
  std::vector<OpenCollective> open;           ///< in the order in which they were begun
  std::map<std::string, std::int64_t> begun;  ///< how many collectives it began, by channel

  /// The one it is blocked in, or nullptr.
  const OpenCollective* waiting() const;
  /// "in all_gather #7 of layers.3 over dp_shard for 3.2 s", or
  /// "in compute (forward) for 1.0 s after all_gather #6 of layers.2 over dp_shard".
  std::string where() const;
};

void to_json(nlohmann::json& json, const RankState& state);
void from_json(const nlohmann::json& json, RankState& state);

}  // namespace coeus
