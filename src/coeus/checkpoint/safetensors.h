// The safetensors file format: eight bytes of header length (little-endian), a JSON header, then
// the tensors' bytes without a gap. The reader believes nothing that the file says: every number is
// checked against the others and against the file's size before anything is read or allocated by
// it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/stored_type.h"

namespace coeus {

/// One tensor of a file: its row-major bytes are the file's bytes [begin, end).
struct SafetensorsEntry {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;  ///< in the order of their bytes
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  ///< bytes of header, its length included
};

/// The longest header taken, as in the format's reference implementation.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

/// The bytes of a tensor of this shape; nothing if a dimension is negative or the number does not
/// fit in 63 bits.
std::optional<uint64_t> bytes_of(StoredType type, std::span<const int64_t> shape);

/// Reads a header: `start` is at least the file's first 8 + header-length bytes and `file_bytes`
/// the size of the whole file. Throws CheckpointError, naming `file`, the tensor and the numbers,
/// unless the header is right in every respect (no duplicate names, no holes, no overlaps, sizes
/// agree, no byte of the file unaccounted for).
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, uint64_t file_bytes,
                                           const std::string& file);

/// The bytes of a file up to where its data begins; throws CheckpointError if there cannot be so
/// many.
std::vector<std::byte> read_safetensors_start(ReadableFile& file, const std::string& name);

/// Reads and parses the header of an open file.
SafetensorsHeader read_safetensors_header(ReadableFile& file, const std::string& name);

/// The header for a file that holds these tensors (begin and end are not looked at), padded so that
/// the data starts at a multiple of 8, and what a reader will find in it: tensors in order of
/// falling element size, so that each lies at a multiple of its own. Throws Error on a duplicate
/// name, one that is not UTF-8, or a shape out of range.
struct SafetensorsLayout {
  std::string header_bytes;
  SafetensorsHeader header;
};
SafetensorsLayout lay_out_safetensors(std::vector<SafetensorsEntry> tensors,
                                      const std::map<std::string, std::string>& metadata);

}  // namespace coeus
