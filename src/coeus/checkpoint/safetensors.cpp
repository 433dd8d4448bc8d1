#include "coeus/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "coeus/checkpoint/safetensors_json.h"

namespace coeus {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

namespace {

constexpr uint64_t kLengthBytes = 8;

template <class... Args>
[[noreturn]] void refuse(const std::string& file, fmt::format_string<Args...> format,
                         Args&&... args) {
  throw CheckpointError(
      fmt::format("[safetensors] {}: {}", file, fmt::format(format, std::forward<Args>(args)...)));
}

uint64_t header_length(std::span<const std::byte> start, uint64_t file_bytes,
                       const std::string& file) {
  if (file_bytes < kLengthBytes || start.size() < kLengthBytes) {
    refuse(file, "the file has {} bytes, too few for the 8 of the header's length; it is cut short",
           file_bytes);
  }
  uint64_t length = 0;
  std::memcpy(&length, start.data(), kLengthBytes);
  if (length > kMaxSafetensorsHeader) {
    refuse(file,
           "the header claims {} bytes, more than the {} allowed; this is no safetensors file",
           length, kMaxSafetensorsHeader);
  }
  if (length > file_bytes - kLengthBytes) {
    refuse(file, "the header claims {} bytes, but only {} follow; the file is cut short", length,
           file_bytes - kLengthBytes);
  }
  return length;
}

// In the order of the bytes each tensor begins where the one before it ended, and the last one ends
// with the file: that leaves no room for holes, overlaps or bytes that belong to nobody.
void check_placement(SafetensorsHeader& header, uint64_t file_bytes, const std::string& file) {
  auto& tensors = header.tensors;
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  const uint64_t data_bytes = file_bytes - header.data_begin;
  uint64_t expected = 0;
  std::string before = "the header";
  for (auto& tensor : tensors) {
    if (tensor.begin > tensor.end || tensor.end > data_bytes) {
      refuse(file,
             "tensor '{}' claims bytes [{}, {}) of the {} bytes of data; the file is cut short "
             "or damaged",
             tensor.name, tensor.begin, tensor.end, data_bytes);
    }
    auto bytes = bytes_of(tensor.type, tensor.shape);
    if (!bytes)
      refuse(file, "tensor '{}' has a shape [{}] whose size overflows", tensor.name,
             fmt::join(tensor.shape, ", "));
    if (*bytes != tensor.end - tensor.begin) {
      refuse(file,
             "tensor '{}' of dtype {} and shape [{}] needs {} bytes, but its data_offsets "
             "[{}, {}] hold {}",
             tensor.name, name_of(tensor.type), fmt::join(tensor.shape, ", "), *bytes, tensor.begin,
             tensor.end, tensor.end - tensor.begin);
    }
    if (tensor.begin != expected) {
      refuse(file, "tensor '{}' begins at byte {} of the data, but {} ends at byte {}: {}",
             tensor.name, tensor.begin, before, expected,
             tensor.begin < expected ? "they overlap" : "the bytes between belong to no tensor");
    }
    expected = tensor.end;
    before = fmt::format("tensor '{}'", tensor.name);
  }
  if (expected != data_bytes) {
    refuse(file, "{} ends at byte {} of the data, but the file goes on to byte {}", before,
           expected, data_bytes);
  }
  for (auto& tensor : tensors) {
    tensor.begin += header.data_begin;
    tensor.end += header.data_begin;
  }
}

std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("[safetensors] the name '{}' is not UTF-8", text));
  }
}

}  // namespace

std::optional<uint64_t> bytes_of(StoredType type, std::span<const int64_t> shape) {
  // Zeros are left out, so that [0, 2^62, 2^62] is refused as [2^62, 2^62, 0] is.
  int64_t bytes = static_cast<int64_t>(bytes_of(type));
  bool empty = false;
  for (int64_t size : shape) {
    if (size < 0) return std::nullopt;
    if (size == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(bytes, size, &bytes)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : static_cast<uint64_t>(bytes);
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, uint64_t file_bytes,
                                           const std::string& file) {
  uint64_t length = header_length(start, file_bytes, file);
  COEUS_ASSERT(start.size() >= kLengthBytes + length);
  std::string_view text(reinterpret_cast<const char*>(start.data()) + kLengthBytes, length);
  SafetensorsHeader header = parse_safetensors_json(text, file);
  header.data_begin = kLengthBytes + length;
  check_placement(header, file_bytes, file);
  return header;
}

std::vector<std::byte> read_safetensors_start(ReadableFile& file, const std::string& name) {
  std::array<std::byte, kLengthBytes> first{};
  const uint64_t first_bytes = std::min<uint64_t>(kLengthBytes, file.size());
  file.read(0, std::span(first).first(first_bytes));
  const uint64_t length = header_length(std::span(first).first(first_bytes), file.size(), name);
  std::vector<std::byte> start(kLengthBytes + length);
  file.read(0, start);
  // Between the two reads the length may have changed under us.
  if (std::memcmp(start.data(), first.data(), kLengthBytes) != 0) {
    refuse(name, "the header's length changed while it was read");
  }
  return start;
}

SafetensorsHeader read_safetensors_header(ReadableFile& file, const std::string& name) {
  return parse_safetensors_header(read_safetensors_start(file, name), file.size(), name);
}

SafetensorsLayout lay_out_safetensors(std::vector<SafetensorsEntry> tensors,
                                      const std::map<std::string, std::string>& metadata) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return bytes_of(a.type) > bytes_of(b.type);
  });
  std::string json = "{";
  if (!metadata.empty()) {
    for (const auto& [key, value] : metadata) {
      json += fmt::format("{}{}:{}", json == "{" ? "\"__metadata__\":{" : ",", json_string(key),
                          json_string(value));
    }
    json += '}';
  }
  std::set<std::string> names;
  uint64_t offset = 0;
  for (auto& tensor : tensors) {
    COEUS_CHECK(tensor.name != "__metadata__" && names.insert(tensor.name).second,
                "[safetensors] the tensor name '{}' is {}; give each tensor a name of its own",
                tensor.name, tensor.name == "__metadata__" ? "reserved" : "given twice");
    auto bytes = bytes_of(tensor.type, tensor.shape);
    COEUS_CHECK(bytes && *bytes <= std::numeric_limits<int64_t>::max() - offset,
                "[safetensors] tensor '{}' has a shape [{}] whose size overflows", tensor.name,
                fmt::join(tensor.shape, ", "));
    tensor.begin = offset;
    tensor.end = offset += *bytes;
    json += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                        json == "{" ? "" : ",", json_string(tensor.name), name_of(tensor.type),
                        fmt::join(tensor.shape, ","), tensor.begin, tensor.end);
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  COEUS_CHECK(json.size() <= kMaxSafetensorsHeader,
              "[safetensors] {} tensors need a header of {} bytes, more than the {} allowed; split "
              "them over more files",
              tensors.size(), json.size(), kMaxSafetensorsHeader);

  const uint64_t length = json.size();
  SafetensorsLayout layout;
  layout.header_bytes.assign(reinterpret_cast<const char*>(&length), kLengthBytes);
  layout.header_bytes += json;
  layout.header.data_begin = layout.header_bytes.size();
  layout.header.metadata = metadata;
  layout.header.tensors = std::move(tensors);
  for (auto& tensor : layout.header.tensors) {
    tensor.begin += layout.header.data_begin;
    tensor.end += layout.header.data_begin;
  }
  return layout;
}

}  // namespace coeus
