// The element types of the safetensors format (https://huggingface.co/docs/safetensors).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace coeus {

enum class StoredType : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kI64,
  kU64,
  kF64,
};

/// The format's name: "F32", "F8_E4M3", ...
std::string_view name_of(StoredType type);
std::optional<StoredType> stored_type_named(std::string_view name);
/// Bytes of one element.
uint64_t bytes_of(StoredType type);
/// F64, F32, F16 or BF16: the types between which weights may be converted without a scale.
bool is_plain_float(StoredType type);
std::span<const StoredType> all_stored_types();

}  // namespace coeus
