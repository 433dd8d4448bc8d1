#include "coeus/base/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>
#include <new>

namespace coeus {

namespace {

Checksum from_xxh(XXH128_hash_t hash) { return {hash.high64, hash.low64}; }

std::optional<uint64_t> parse_half(std::string_view digits) {
  for (char c : digits) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return std::nullopt;
  }
  uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  return value;
}

}  // namespace

std::string to_string(const Checksum& checksum) {
  return fmt::format("{:016x}{:016x}", checksum.high, checksum.low);
}

std::optional<Checksum> parse_checksum(std::string_view text) {
  if (text.size() != 32) return std::nullopt;
  auto high = parse_half(text.substr(0, 16));
  auto low = parse_half(text.substr(16));
  if (!high || !low) return std::nullopt;
  return Checksum{*high, *low};
}

ChecksumStream::ChecksumStream() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  XXH3_128bits_reset(state_);
}

ChecksumStream::~ChecksumStream() { XXH3_freeState(state_); }

void ChecksumStream::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_, bytes.data(), bytes.size());
}

Checksum ChecksumStream::digest() const { return from_xxh(XXH3_128bits_digest(state_)); }

Checksum checksum_of(std::span<const std::byte> bytes) {
  return from_xxh(XXH3_128bits(bytes.data(), bytes.size()));
}

Checksum checksum_of(std::string_view text) {
  return from_xxh(XXH3_128bits(text.data(), text.size()));
}

}  // namespace coeus
