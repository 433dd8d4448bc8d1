#include "coeus/checkpoint/checkpoint_folder.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "coeus/base/log.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "step-";

// N of step-N in the one way in which it is written: no sign, no leading zeros.
std::optional<int64_t> parse_step(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::string_view digits = name.substr(kPrefix.size());
  int64_t step = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  bool whole = error == std::errc() && end == digits.data() + digits.size() && step >= 0;
  if (!whole || std::to_string(step) != digits) return std::nullopt;
  return step;
}

struct Leftover {
  int64_t step;
  std::string suffix;
};

std::optional<Leftover> parse_leftover(std::string_view name) {
  if (!name.starts_with('.')) return std::nullopt;
  for (const char* suffix : {".tmp", ".old", ".trash"}) {
    if (!name.ends_with(suffix)) continue;
    auto step = parse_step(name.substr(1, name.size() - 1 - std::string_view(suffix).size()));
    if (step) return Leftover{*step, suffix};
  }
  return std::nullopt;
}

}  // namespace

fs::path CheckpointFolder::step_path(int64_t step) const {
  return path_ / fmt::format("{}{}", kPrefix, step);
}

fs::path CheckpointFolder::hidden_path(int64_t step, const char* suffix) const {
  return path_ / fmt::format(".{}{}{}", kPrefix, step, suffix);
}

std::vector<int64_t> CheckpointFolder::steps() const {
  std::vector<int64_t> steps;
  if (file_system_.kind(path_) != FileSystem::Kind::kFolder) return steps;
  for (const std::string& name : file_system_.list(path_)) {
    auto step = parse_step(name);
    if (step && file_system_.kind(path_ / name) == FileSystem::Kind::kFolder) {
      steps.push_back(*step);
    }
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

bool CheckpointFolder::exists(const fs::path& path) {
  return file_system_.kind(path) != FileSystem::Kind::kAbsent;
}

void CheckpointFolder::clean_up() {
  for (const std::string& name : file_system_.list(path_)) {
    auto leftover = parse_leftover(name);
    if (!leftover) continue;
    try {
      if (leftover->suffix == ".old" && put_back(leftover->step)) continue;
      file_system_.remove_all(path_ / name);
      log_warning("removed {}, left by an interrupted run", (path_ / name).string());
    } catch (const FileError& error) {
      log_warning("{}, left by an interrupted run, stays: {}", (path_ / name).string(),
                  error.what());
    }
  }
}

bool CheckpointFolder::put_back(int64_t step) {
  const fs::path target = step_path(step);
  if (exists(target)) return false;
  file_system_.rename(hidden_path(step, ".old"), target);
  file_system_.sync_folder(path_);
  log_warning("put {} back, which an interrupted save had moved aside", target.string());
  return true;
}

void CheckpointFolder::remove_quietly(const fs::path& path) {
  try {
    if (exists(path)) file_system_.remove_all(path);
  } catch (const FileError& error) {
    log_warning("{} could not be removed and will be at the next start: {}", path.string(),
                error.what());
  }
}

fs::path CheckpointFolder::temporary_path(int64_t step) const { return hidden_path(step, ".tmp"); }

fs::path CheckpointFolder::begin(int64_t step) {
  const fs::path temporary = temporary_path(step);
  const fs::path old = hidden_path(step, ".old");
  if (exists(old) && !put_back(step)) file_system_.remove_all(old);
  if (exists(temporary)) file_system_.remove_all(temporary);
  file_system_.make_folder(temporary);
  return temporary;
}

void CheckpointFolder::publish(int64_t step) {
  const fs::path target = step_path(step);
  const fs::path old = hidden_path(step, ".old");
  const bool replaces = exists(target);
  if (replaces) file_system_.rename(target, old);
  try {
    file_system_.rename(temporary_path(step), target);
  } catch (...) {
    if (replaces) {
      try {
        file_system_.rename(old, target);
      } catch (const FileError& error) {
        log_warning("{} stays aside until the next start: {}", target.string(), error.what());
      }
    }
    throw;
  }
  file_system_.sync_folder(path_);
  remove_quietly(old);
}

void CheckpointFolder::abandon(int64_t step) { remove_quietly(temporary_path(step)); }

void CheckpointFolder::remove(int64_t step) {
  const fs::path trash = hidden_path(step, ".trash");
  const fs::path old = hidden_path(step, ".old");
  // Without its successor it would be put back at the next start.
  if (exists(old)) file_system_.remove_all(old);
  if (exists(trash)) file_system_.remove_all(trash);
  file_system_.rename(step_path(step), trash);
  // Without it a loss of power could keep the name and lose the files.
  file_system_.sync_folder(path_);
  file_system_.remove_all(trash);
}

std::vector<int64_t> steps_to_remove(const std::vector<int64_t>& steps, int64_t saved,
                                     int64_t keep) {
  if (keep <= 0) return {};
  std::vector<int64_t> candidates;
  for (int64_t step : steps) {
    if (step <= saved) candidates.push_back(step);
  }
  const auto kept = std::min<size_t>(static_cast<size_t>(keep), candidates.size());
  candidates.resize(candidates.size() - kept);
  return candidates;
}

}  // namespace coeus
