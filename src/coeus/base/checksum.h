// XXH3-128 (https://xxhash.com): finds damage at memory speed. It is no signature: it does not
// stop somebody who means to forge a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct XXH3_state_s;

namespace coeus {

/// A 128-bit checksum, printed as 32 hexadecimal digits in xxhsum's order (high half first).
struct Checksum {
  uint64_t high = 0;
  uint64_t low = 0;
  bool operator==(const Checksum&) const = default;
};

std::string to_string(const Checksum& checksum);
/// Reads exactly 32 lower-case hexadecimal digits; nothing otherwise.
std::optional<Checksum> parse_checksum(std::string_view text);

/// Takes bytes piece by piece; the pieces' borders do not matter.
class ChecksumStream {
 public:
  ChecksumStream();
  ~ChecksumStream();
  ChecksumStream(const ChecksumStream&) = delete;
  ChecksumStream& operator=(const ChecksumStream&) = delete;

  void update(std::span<const std::byte> bytes);
  /// The checksum of everything so far.
  Checksum digest() const;

 private:
  XXH3_state_s* state_;
};

Checksum checksum_of(std::span<const std::byte> bytes);
Checksum checksum_of(std::string_view text);

}  // namespace coeus
