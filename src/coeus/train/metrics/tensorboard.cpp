#include "coeus/train/metrics/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>

#include "coeus/train/metrics/run_folder.h"

namespace coeus {

namespace {

constexpr std::array<uint32_t, 256> crc32c_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0u);
    table[byte] = crc;
  }
  return table;
}

/// `value`'s bytes, the lowest first.
template <class Unsigned>
std::string little_endian(Unsigned value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(Unsigned); ++i)
    bytes += static_cast<char>((value >> (8 * i)) & 0xFF);
  return bytes;
}

std::string masked_crc(std::string_view data) {
  return little_endian(std::rotr(crc32c(data), 15) + 0xA282EAD8u);
}

// Protobuf's wire format: a field is its key (number * 8 + wire type), then its value.
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string key(int field, WireType type) {
  return varint(static_cast<uint64_t>(field * 8 + type));
}

std::string bytes_field(int field, std::string_view value) {
  return key(field, kBytes) + varint(value.size()) + std::string(value);
}

std::string double_field(int field, double value) {
  return key(field, kFixed64) + little_endian(std::bit_cast<uint64_t>(value));
}

std::string float_field(int field, float value) {
  return key(field, kFixed32) + little_endian(std::bit_cast<uint32_t>(value));
}

std::filesystem::path new_event_path(const std::filesystem::path& folder, double wall_time) {
  static std::atomic<int> n_files = 0;
  make_run_folder(folder, "metrics.save_tb_folder");
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return folder / fmt::format("events.out.tfevents.{:010}.{}.{}.{}",
                              static_cast<int64_t>(wall_time), host.data(), getpid(), n_files++);
}

}  // namespace

uint32_t crc32c(std::string_view data) {
  static constexpr std::array<uint32_t, 256> kTable = crc32c_table();
  uint32_t crc = ~0u;
  for (char c : data) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

std::string tfrecord(std::string_view data) {
  std::string length = little_endian(static_cast<uint64_t>(data.size()));
  return length + masked_crc(length) + std::string(data) + masked_crc(data);
}

std::string version_event(double wall_time) {
  return double_field(1, wall_time) + bytes_field(3, "brain.Event:2");
}

std::string scalars_event(const Scalars& scalars, int64_t step, double wall_time) {
  std::string summary;
  for (const auto& [tag, value] : scalars)
    summary += bytes_field(1, bytes_field(1, tag) + float_field(2, static_cast<float>(value)));
  std::string event = double_field(1, wall_time);
  if (step != 0) event += key(2, kVarint) + varint(static_cast<uint64_t>(step));
  return event + bytes_field(5, summary);
}

EventWriter::EventWriter(const std::filesystem::path& folder, double wall_time)
    : file_(new_event_path(folder, wall_time)) {
  file_.append(tfrecord(version_event(wall_time)));
}

}  // namespace coeus
