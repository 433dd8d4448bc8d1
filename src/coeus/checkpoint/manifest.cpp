#include "coeus/checkpoint/manifest.h"

#include <algorithm>

#include "coeus/base/error.h"
#include "coeus/checkpoint/file_name.h"
#include "coeus/checkpoint/safetensors.h"

namespace coeus {

using nlohmann::json;

namespace {

constexpr const char* kFormat = "coeus checkpoint";
constexpr std::string_view kBeforeChecksum = ",\n  \"checksum\": \"xxh3-128:";
constexpr std::string_view kAfterChecksum = "\"\n}\n";
constexpr int kMaxDepth = 100;

json to_json(const StoredPiece& piece) {
  json checksums = json::array();
  for (const Checksum& checksum : piece.checksums) checksums.push_back(to_string(checksum));
  json entry = {
      {"file", piece.file.string()}, {"offset", piece.begin}, {"checksums", std::move(checksums)}};
  if (!piece.slice.is_whole()) {
    entry["begin"] = piece.slice.begin;
    entry["size"] = piece.slice.size;
  }
  return entry;
}

json to_json(const StoredTensor& tensor) {
  json pieces = json::array();
  for (const StoredPiece& piece : tensor.pieces) pieces.push_back(to_json(piece));
  return {{"name", tensor.name},
          {"dtype", name_of(tensor.type)},
          {"shape", tensor.shape},
          {"pieces", std::move(pieces)}};
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
          {"chunk_bytes", manifest.chunk_bytes},
          {"files", std::move(files)},
          {"tensors", std::move(tensors)},
          {"states", manifest.states}};
}

/// A line for every element of the outer `levels` of lists and objects.
std::string in_lines(const json& value, int levels, size_t indent) {
  if (levels == 0 || !value.is_structured() || value.empty()) return value.dump();
  std::string text;
  for (const auto& [key, element] : value.items()) {
    text += fmt::format("{}\n{:{}}", text.empty() ? "" : ",", "", indent + 2);
    if (value.is_object()) text += json(key).dump() + ": ";
    text += in_lines(element, levels - 1, indent + 2);
  }
  text += fmt::format("\n{:{}}", "", indent);
  return value.is_object() ? "{" + text + "}" : "[" + text + "]";
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

std::vector<int64_t> read_sizes(const json& list) {
  std::vector<int64_t> sizes;
  for (const json& size : list) sizes.push_back(read_size(size));
  return sizes;
}

TensorSlice read_slice(const json& entry, const std::vector<int64_t>& shape) {
  TensorSlice slice = TensorSlice::whole_of(shape);
  if (!entry.contains("begin")) return slice;
  const auto begin = read_sizes(entry.at("begin"));
  const auto size = read_sizes(entry.at("size"));
  COEUS_CHECK_AS(CheckpointError, begin.size() == shape.size() && size.size() == shape.size(),
                 "a piece has another number of dimensions than its tensor of [{}]",
                 fmt::join(shape, ", "));
  for (size_t d = 0; d < shape.size(); ++d) {
    slice = slice.narrowed(static_cast<int64_t>(d), begin[d], size[d]);
  }
  return slice;
}

StoredPiece read_piece(const json& entry, const StoredTensor& tensor, uint64_t chunk_bytes) {
  StoredPiece piece;
  piece.slice = read_slice(entry, tensor.shape);
  piece.file = read_file_name(entry.at("file").get<std::string>());
  piece.begin = static_cast<uint64_t>(read_size(entry.at("offset")));
  piece.end = piece.begin + *bytes_of(tensor.type, piece.slice.size);
  piece.chunk_bytes = chunk_bytes;
  for (const json& text : entry.at("checksums")) piece.checksums.push_back(read_checksum(text));
  COEUS_CHECK_AS(CheckpointError, piece.checksums.size() == chunks_of(piece.bytes(), chunk_bytes),
                 "{} checksums stand for {} bytes in chunks of {}", piece.checksums.size(),
                 piece.bytes(), chunk_bytes);
  return piece;
}

StoredPiece read_piece_of_version_1(const json& entry, const StoredTensor& tensor) {
  StoredPiece piece;
  piece.slice = TensorSlice::whole_of(tensor.shape);
  piece.file = read_file_name(entry.at("file").get<std::string>());
  const uint64_t bytes = *bytes_of(tensor.type, tensor.shape);
  piece.chunk_bytes = std::max<uint64_t>(bytes, 1);
  const Checksum checksum = read_checksum(entry.at("checksum"));
  if (bytes > 0) piece.checksums = {checksum};
  return piece;
}

StoredTensor read_tensor(const json& entry, int version, uint64_t chunk_bytes) {
  StoredTensor tensor;
  tensor.name = entry.at("name").get<std::string>();
  const auto& dtype = entry.at("dtype").get_ref<const std::string&>();
  auto type = stored_type_named(dtype);
  if (!type) throw CheckpointError(fmt::format("unknown dtype '{}'", dtype));
  tensor.type = *type;
  tensor.shape = read_sizes(entry.at("shape"));
  COEUS_CHECK_AS(CheckpointError, bytes_of(tensor.type, tensor.shape),
                 "tensor '{}' has a shape [{}] whose size overflows", tensor.name,
                 fmt::join(tensor.shape, ", "));
  if (version == 1) {
    tensor.pieces = {read_piece_of_version_1(entry, tensor)};
    return tensor;
  }
  for (const json& piece : entry.at("pieces")) {
    tensor.pieces.push_back(read_piece(piece, tensor, chunk_bytes));
  }
  return tensor;
}

Manifest read_manifest(const json& root) {
  if (root.at("format") != kFormat) throw CheckpointError("it is of another format");
  const json& version = root.at("format_version");
  if (version != 1 && version != kManifestVersion) {
    throw CheckpointError(fmt::format("its format_version is {}, this coeus reads 1 to {}",
                                      version.dump(), kManifestVersion));
  }
  Manifest manifest;
  manifest.coeus_version = root.at("coeus_version").get<std::string>();
  manifest.step = read_size(root.at("step"));
  if (version != 1) manifest.chunk_bytes = static_cast<uint64_t>(read_size(root.at("chunk_bytes")));
  COEUS_CHECK_AS(CheckpointError, manifest.chunk_bytes > 0, "chunks are of 0 bytes");
  for (const auto& [name, entry] : root.at("files").items()) {
    manifest.files[read_file_name(name)] = {static_cast<uint64_t>(read_size(entry.at("bytes"))),
                                            read_checksum(entry.at("header_checksum"))};
  }
  for (const auto& [part, list] : root.at("tensors").items()) {
    auto& tensors = manifest.tensors[part];
    for (const json& entry : list) {
      tensors.push_back(read_tensor(entry, version.get<int>(), manifest.chunk_bytes));
    }
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
    text = in_lines(to_json(manifest), 3, 0);
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
  } catch (const Error& error) {
    throw CheckpointError(fmt::format("{}: the manifest cannot be used: {}", file, error.what()));
  }
}

void check_covered(const Manifest& manifest) {
  for (const auto& [part, tensors] : manifest.tensors) {
    for (const StoredTensor& tensor : tensors) {
      std::vector<TensorSlice> boxes;
      std::vector<std::string> names;
      for (const StoredPiece& piece : tensor.pieces) {
        boxes.push_back(piece.slice);
        names.push_back(
            fmt::format("{} in {}", name_of_piece(tensor.name, piece.slice), piece.file.string()));
      }
      COEUS_CHECK(cover_exactly(tensor.shape, boxes),
                  "[checkpoint] '{}' of shape [{}] is not covered exactly once by its {} pieces: "
                  "{}",
                  tensor.name, fmt::join(tensor.shape, ", "), boxes.size(), fmt::join(names, "; "));
    }
  }
}

}  // namespace coeus
