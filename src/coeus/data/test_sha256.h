// For tests that compare with published checksums.
#pragma once

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace coeus {

/// SHA-256 (FIPS 180-4), in hexadecimal.
inline std::string sha256(std::string message) {
  // The first 32 bits of the fractional parts of the roots of the first primes.
  auto root_bits = [](long double root) {
    return static_cast<uint32_t>((root - std::floor(root)) * 4294967296.0L);
  };
  std::vector<uint32_t> state, constants;
  for (uint32_t n = 2; constants.size() < 64; ++n) {
    bool prime = true;
    for (uint32_t d = 2; d * d <= n; ++d) prime &= n % d != 0;
    if (!prime) continue;
    if (state.size() < 8) state.push_back(root_bits(std::sqrt(static_cast<long double>(n))));
    constants.push_back(root_bits(std::cbrt(static_cast<long double>(n))));
  }
  uint64_t bits = message.size() * 8;
  message += '\x80';
  while (message.size() % 64 != 56) message += '\0';
  for (int i = 7; i >= 0; --i) message += static_cast<char>(bits >> (8 * i));
  for (size_t block = 0; block < message.size(); block += 64) {
    uint32_t w[64];
    for (size_t i = 0; i < 16; ++i) {
      w[i] = 0;
      for (size_t j = 0; j < 4; ++j) {
        w[i] = w[i] << 8 | static_cast<unsigned char>(message[block + 4 * i + j]);
      }
    }
    for (size_t i = 16; i < 64; ++i) {
      uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) + w[i - 7] +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
    }
    auto s = state;
    for (size_t i = 0; i < 64; ++i) {
      uint32_t t1 = s[7] + (std::rotr(s[4], 6) ^ std::rotr(s[4], 11) ^ std::rotr(s[4], 25)) +
                    ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
      uint32_t t2 = (std::rotr(s[0], 2) ^ std::rotr(s[0], 13) ^ std::rotr(s[0], 22)) +
                    ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      s = {t1 + t2, s[0], s[1], s[2], s[3] + t1, s[4], s[5], s[6]};
    }
    for (size_t i = 0; i < 8; ++i) state[i] += s[i];
  }
  std::string text;
  for (uint32_t word : state) text += fmt::format("{:08x}", word);
  return text;
}

/// SHA-256 of the tokens as little-endian int32.
inline std::string sha256(std::span<const int32_t> tokens) {
  static_assert(std::endian::native == std::endian::little);
  return sha256(std::string(reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes()));
}

}  // namespace coeus
