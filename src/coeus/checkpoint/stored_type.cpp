#include "coeus/checkpoint/stored_type.h"

#include <array>

#include "coeus/base/error.h"

namespace coeus {

namespace {

struct TypeFacts {
  StoredType type;
  std::string_view name;
  uint64_t bytes;
};

constexpr std::array kFacts = {
    TypeFacts{StoredType::kBool, "BOOL", 1},      TypeFacts{StoredType::kU8, "U8", 1},
    TypeFacts{StoredType::kI8, "I8", 1},          TypeFacts{StoredType::kF8E5M2, "F8_E5M2", 1},
    TypeFacts{StoredType::kF8E4M3, "F8_E4M3", 1}, TypeFacts{StoredType::kI16, "I16", 2},
    TypeFacts{StoredType::kU16, "U16", 2},        TypeFacts{StoredType::kF16, "F16", 2},
    TypeFacts{StoredType::kBF16, "BF16", 2},      TypeFacts{StoredType::kI32, "I32", 4},
    TypeFacts{StoredType::kU32, "U32", 4},        TypeFacts{StoredType::kF32, "F32", 4},
    TypeFacts{StoredType::kI64, "I64", 8},        TypeFacts{StoredType::kU64, "U64", 8},
    TypeFacts{StoredType::kF64, "F64", 8},
};

constexpr auto kTypes = [] {
  std::array<StoredType, kFacts.size()> types{};
  for (size_t i = 0; i < kFacts.size(); ++i) types[i] = kFacts[i].type;
  return types;
}();

const TypeFacts& facts_of(StoredType type) {
  const TypeFacts& facts = kFacts.at(static_cast<size_t>(type));
  COEUS_ASSERT(facts.type == type);
  return facts;
}

}  // namespace

std::string_view name_of(StoredType type) { return facts_of(type).name; }

uint64_t bytes_of(StoredType type) { return facts_of(type).bytes; }

std::optional<StoredType> stored_type_named(std::string_view name) {
  for (const TypeFacts& facts : kFacts) {
    if (facts.name == name) return facts.type;
  }
  return std::nullopt;
}

bool is_plain_float(StoredType type) {
  return type == StoredType::kF64 || type == StoredType::kF32 || type == StoredType::kF16 ||
         type == StoredType::kBF16;
}

std::span<const StoredType> all_stored_types() { return kTypes; }

}  // namespace coeus
