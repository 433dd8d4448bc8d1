#include "coeus/checkpoint/manifest.h"

#include "coeus/base/error.h"
#include "coeus/checkpoint/file_name.h"

namespace coeus {

using nlohmann::json;

namespace {

constexpr const char* kFormat = "coeus checkpoint";
constexpr std::string_view kBeforeChecksum = ",\n  \"checksum\": \"xxh3-128:";
constexpr std::string_view kAfterChecksum = "\"\n}\n";
constexpr int kMaxDepth = 100;

json to_json(const ManifestTensor& tensor) {
  return {{"name", tensor.name},
          {"file", tensor.file},
          {"dtype", name_of(tensor.type)},
          {"shape", tensor.shape},
          {"checksum", to_string(tensor.checksum)}};
}

json to_json(const Manifest& manifest) {
  json files = json::object();
  for (const auto& [name, file] : manifest.files) {
    files[name] = {{"bytes", file.bytes}, {"header_checksum", to_string(file.header)}};
  }
  json tensors = json::object();
  for (const auto& [part, list] : manifest.tensors) {
    tensors[part] = json::array();
    for (const auto& tensor : list) tensors[part].push_back(to_json(tensor));
  }
  return {{"format", kFormat},
          {"format_version", kManifestVersion},
          {"coeus_version", manifest.coeus_version},
          {"step", manifest.step},
          {"files", std::move(files)},
          {"tensors", std::move(tensors)},
          {"states", manifest.states}};
}

// JSON has no NaN and no infinity (they would be written as null) and no bytes beyond UTF-8.
void check_comes_back(const json& written, const std::string& state, const std::string& text) {
  COEUS_CHECK(
      json::parse(text) == written,
      "[checkpoint] the state '{}' holds a value that JSON cannot keep, such as a number that "
      "is not finite",
      state);
}

Checksum read_checksum(const json& text) {
  auto checksum = parse_checksum(text.get_ref<const std::string&>());
  if (!checksum) throw CheckpointError("a checksum is not 32 hexadecimal digits");
  return *checksum;
}

std::string read_file_name(const std::string& name) {
  if (!is_plain_file_name(name)) {
    throw CheckpointError(fmt::format("'{}' is no plain file name", name));
  }
  return name;
}

int64_t read_size(const json& number) {
  if (!number.is_number_unsigned() || number.get<uint64_t>() > INT64_MAX) {
    throw CheckpointError(fmt::format("{} stands where a size must", number.dump()));
  }
  return number.get<int64_t>();
}

ManifestTensor read_tensor(const json& entry) {
  ManifestTensor tensor;
  tensor.name = entry.at("name").get<std::string>();
  tensor.file = read_file_name(entry.at("file").get<std::string>());
  const auto& dtype = entry.at("dtype").get_ref<const std::string&>();
  auto type = stored_type_named(dtype);
  if (!type) throw CheckpointError(fmt::format("unknown dtype '{}'", dtype));
  tensor.type = *type;
  for (const json& size : entry.at("shape")) tensor.shape.push_back(read_size(size));
  tensor.checksum = read_checksum(entry.at("checksum"));
  return tensor;
}

Manifest read_manifest(const json& root) {
  if (root.at("format") != kFormat) throw CheckpointError("it is of another format");
  if (root.at("format_version") != kManifestVersion) {
    throw CheckpointError(fmt::format("its format_version is {}, this coeus reads {}",
                                      root.at("format_version").dump(), kManifestVersion));
  }
  Manifest manifest;
  manifest.coeus_version = root.at("coeus_version").get<std::string>();
  manifest.step = read_size(root.at("step"));
  for (const auto& [name, entry] : root.at("files").items()) {
    manifest.files[read_file_name(name)] = {static_cast<uint64_t>(read_size(entry.at("bytes"))),
                                            read_checksum(entry.at("header_checksum"))};
  }
  for (const auto& [part, list] : root.at("tensors").items()) {
    auto& tensors = manifest.tensors[part];
    for (const json& entry : list) tensors.push_back(read_tensor(entry));
  }
  for (const auto& [name, state] : root.at("states").items()) manifest.states[name] = state;
  return manifest;
}

// Refuses what is nested deeper than any state is, before recursion over it could end badly.
json parse_shallow(std::string_view text) {
  return json::parse(text, [](int depth, json::parse_event_t, json&) {
    if (depth > kMaxDepth) throw CheckpointError("it is nested too deeply");
    return true;
  });
}

}  // namespace

std::string to_text(const Manifest& manifest) {
  std::string text;
  try {
    for (const auto& [name, state] : manifest.states) check_comes_back(state, name, state.dump());
    text = to_json(manifest).dump(2);
  } catch (const json::exception& error) {
    throw Error(
        fmt::format("[checkpoint] a state or name cannot be written as JSON: {}", error.what()));
  }
  text.resize(text.size() - 2);  // the closing "\n}" of the object
  text += kBeforeChecksum;
  text += to_string(checksum_of(text));
  text += kAfterChecksum;
  return text;
}

Manifest parse_manifest(const std::string& text, const std::string& file) {
  const size_t tail = kAfterChecksum.size() + 32;
  const bool long_enough = text.size() > tail + kBeforeChecksum.size();
  const std::string_view whole = text;
  const std::string_view covered = long_enough ? whole.substr(0, text.size() - tail) : "";
  auto checksum = long_enough ? parse_checksum(whole.substr(covered.size(), 32)) : std::nullopt;
  COEUS_CHECK_AS(
      CheckpointError,
      checksum && covered.ends_with(kBeforeChecksum) && whole.ends_with(kAfterChecksum),
      "{}: the manifest ({} bytes) does not end in a checksum: it is cut short, damaged, "
      "or was edited",
      file, text.size());
  COEUS_CHECK_AS(CheckpointError, checksum_of(covered) == *checksum,
                 "{}: bytes [0, {}) do not have the checksum {} that the manifest ends in: it is "
                 "damaged or was edited",
                 file, covered.size(), to_string(*checksum));
  try {
    return read_manifest(parse_shallow(text));
  } catch (const json::exception& error) {
    throw CheckpointError(
        fmt::format("{}: the manifest is not of its form: {}", file, error.what()));
  } catch (const CheckpointError& error) {
    throw CheckpointError(fmt::format("{}: the manifest cannot be used: {}", file, error.what()));
  }
}

}  // namespace coeus
