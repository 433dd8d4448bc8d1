#include "coeus/data/dataset.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/base/random.h"
#include "coeus/data/byte_reader.h"
#include "coeus/data/mixture_dataset.h"
#include "coeus/data/record_dataset.h"
#include "coeus/data/synthetic_dataset.h"
#include "coeus/data/text_dataset.h"

namespace coeus {

namespace {

constexpr const char* kFortunesFolder = "/usr/share/games/fortunes";
constexpr const char* kKnownNames =
    "json, text, fortunes, synthetic, image_text (and c4, c4_test, c4_validation, read as json, "
    "and cc12m, obelics, read as image_text)";

std::string lower_case(std::string name) {
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

std::unique_ptr<Dataset> make_single(const DatasetOptions& options) {
  std::string name = lower_case(options.name);
  bool is_json = name == "json" || name == "c4" || name == "c4_test" || name == "c4_validation";
  FileDatasetOptions files{.name = name,
                           .path = options.path,
                           .shuffle = options.shuffle,
                           .seed = options.seed,
                           .memory_limit = options.memory_limit};
  bool has_images = is_image_dataset(name);
  if (is_json || has_images || name == "text") {
    COEUS_CHECK_CONFIG(!options.path.empty(),
                       "[dataset {}] dataset_path is not set; set it to a {} file or a folder of "
                       "such files",
                       name, name == "text" ? "text" : "JSON-lines");
  }
  if (name == "fortunes" && files.path.empty()) {
    files.path = kFortunesFolder;
    COEUS_CHECK_DATA(std::filesystem::exists(files.path),
                     "[dataset fortunes] there is no {}; install the package fortunes (apt-get "
                     "install fortunes) or set dataset_path",
                     kFortunesFolder);
  }
  if (is_json || has_images || name == "text" || name == "fortunes") {
    log_info("Preparing {} dataset from {}", name, files.path.string());
  }
  if (is_json) return make_json_dataset(files);
  if (has_images) return make_image_text_dataset(files);
  if (name == "text") return std::make_unique<TextDataset>(files);
  if (name == "fortunes") return make_fortunes_dataset(files);
  if (name == "synthetic") {
    COEUS_CHECK_CONFIG(options.path.empty(),
                       "[dataset synthetic] takes no dataset_path, got {}; leave it out",
                       options.path);
    COEUS_CHECK_CONFIG(!options.shuffle,
                       "[dataset synthetic] cannot be shuffled: it has no end; turn shuffle off");
    return std::make_unique<SyntheticDataset>(options.vocab_size);
  }
  throw ConfigError(fmt::format("[dataset] unknown data set \"{}\"; expected one of {}",
                                options.name, kKnownNames));
}

}  // namespace

bool is_image_dataset(std::string_view name) {
  const std::string lower = lower_case(std::string(name));
  return lower == "image_text" || lower == "cc12m" || lower == "obelics";
}

std::string describe_place(const Document& document) {
  if (document.place.file == nullptr) return "document";
  return line_at(*document.place.file, document.place.offset);
}

void Dataset::set_stop(std::stop_token stop) {
  stop_ = std::move(stop);
  stop_changed();
}

void check_same_identity(const nlohmann::json& saved, const nlohmann::json& ours) {
  auto before = saved.flatten();
  auto now = ours.flatten();
  auto matters = [](const std::string& key) { return !key.ends_with("/path"); };
  std::vector<std::string> differences;
  for (const auto& [key, value] : before.items()) {
    if (!matters(key) || (now.contains(key) && now[key] == value)) continue;
    differences.push_back(fmt::format("{} was {}, is {}", key.substr(1), value.dump(),
                                      now.contains(key) ? now[key].dump() : "absent"));
  }
  for (const auto& [key, value] : now.items()) {
    if (!matters(key) || before.contains(key)) continue;
    differences.push_back(fmt::format("{} was absent, is {}", key.substr(1), value.dump()));
  }
  COEUS_CHECK_CONFIG(differences.empty(),
                     "[data] the saved state is of other data: {}; set these back, or start the "
                     "data from its beginning by leaving the loader's state out",
                     fmt::join(differences, "; "));
}

std::unique_ptr<Dataset> make_dataset(const DatasetOptions& options) {
  if (options.mixture.empty()) return make_single(options);
  COEUS_CHECK_CONFIG(options.name.empty() && options.path.empty(),
                     "[dataset] both a mixture and the data set \"{}\" {} are given; choose one",
                     options.name, options.path);
  const auto count = [&](auto&& is_so) {
    return std::ranges::count_if(options.mixture, is_so, &MixtureEntry::dataset);
  };
  COEUS_CHECK_CONFIG(
      count([](const std::string& name) { return is_image_dataset(name); }) == 0 ||
          count([](const std::string& name) { return lower_case(name) == "synthetic"; }) == 0,
      "[dataset] a mixture of images and the data set synthetic, whose tokens stand for no text; "
      "take one of the two out");
  std::vector<MixtureDataset::Part> parts;
  for (size_t i = 0; i < options.mixture.size(); ++i) {
    const auto& entry = options.mixture[i];
    DatasetOptions single = options;
    single.mixture.clear();
    single.name = entry.dataset;
    single.path = entry.path;
    // Parts of one size must not be walked in one order.
    single.seed = mix64(options.seed + (i + 1) * kGoldenGamma);
    // A data set without an end has no order to change.
    single.shuffle = options.shuffle && lower_case(entry.dataset) != "synthetic";
    parts.push_back({make_single(single), entry.weight});
  }
  return std::make_unique<MixtureDataset>(std::move(parts), options.seed);
}

}  // namespace coeus
