#include "coeus/comm/rank_state.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace coeus {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(OpenCollective, name, channel, sequence, kind, bytes, ranks,
                                   waiting, seconds)

void to_json(nlohmann::json& json, const RankState& state) {
  json = {{"step", state.step},
          {"activity", state.activity},
          {"last_ended", state.last_ended},
          {"last_ended_seconds", state.last_ended_seconds},
          {"open", state.open},
          {"begun", state.begun}};
}

void from_json(const nlohmann::json& json, RankState& state) {
  json.at("step").get_to(state.step);
  json.at("activity").get_to(state.activity);
  json.at("last_ended").get_to(state.last_ended);
  json.at("last_ended_seconds").get_to(state.last_ended_seconds);
  json.at("open").get_to(state.open);
  json.at("begun").get_to(state.begun);
}

const OpenCollective* RankState::waiting() const {
  const OpenCollective* longest = nullptr;
  for (const OpenCollective& collective : open)
    if (collective.waiting && (!longest || collective.seconds > longest->seconds))
      longest = &collective;
  return longest;
}

std::string RankState::where() const {
  if (const OpenCollective* in = waiting())
    return fmt::format("in {} for {:.1f} s", in->name, in->seconds);
  return fmt::format("in compute{} for {:.1f} s{}{}",
                     activity.empty() ? "" : fmt::format(" ({})", activity), last_ended_seconds,
                     last_ended.empty() ? "" : " after ", last_ended);
}

}  // namespace coeus
