#include "coeus/checkpoint/piece_reader.h"

#include <algorithm>

namespace coeus {

namespace {

constexpr size_t kMaxOpenFiles = 64;

}  // namespace

ReadableFile& OpenFiles::at(const std::filesystem::path& path) {
  const auto found = files_.find(path);
  if (found != files_.end()) return *found->second;
  if (files_.size() == kMaxOpenFiles) files_.clear();
  return *files_.emplace(path, file_system_.open(path)).first->second;
}

void PieceReader::read(uint64_t offset, std::span<std::byte> into) {
  file_.read(piece_.begin + offset, into);
  if (piece_.checksums.empty()) return;
  while (!into.empty()) {
    const auto left = piece_.chunk_bytes - offset % piece_.chunk_bytes;
    const auto part = into.first(std::min<uint64_t>(left, into.size()));
    follow(offset, part);
    offset += part.size();
    into = into.subspan(part.size());
  }
}

void PieceReader::follow(uint64_t offset, std::span<const std::byte> bytes) {
  if (offset % piece_.chunk_bytes == 0) {
    stream_.emplace();
  } else if (offset != next_) {
    stream_.reset();
  }
  next_ = offset + bytes.size();
  if (!stream_) return;
  stream_->update(bytes);
  if (next_ % piece_.chunk_bytes == 0 || next_ == piece_.bytes()) {
    compare(offset / piece_.chunk_bytes);
    stream_.reset();
  }
}

void PieceReader::compare(uint64_t chunk) const {
  const Checksum& expected = piece_.checksums.at(chunk);
  if (stream_->digest() == expected) return;
  const uint64_t begin = piece_.begin + chunk * piece_.chunk_bytes;
  throw CheckpointError(fmt::format(
      "{}: tensor '{}' is damaged: its bytes [{}, {}) have the checksum {}, the manifest says {}",
      piece_.file.string(), name_of_piece(tensor_, piece_.slice), begin,
      std::min(begin + piece_.chunk_bytes, piece_.end), to_string(stream_->digest()),
      to_string(expected)));
}

void verify_chunk(ReadableFile& file, const std::string& tensor, const StoredPiece& piece,
                  uint64_t chunk, std::span<std::byte> buffer) {
  PieceReader reader(file, tensor, piece);
  const uint64_t begin = chunk * piece.chunk_bytes;
  const uint64_t end = begin + std::min(piece.chunk_bytes, piece.bytes() - begin);
  for (uint64_t at = begin; at < end; at += buffer.size()) {
    reader.read(at, buffer.first(std::min<uint64_t>(buffer.size(), end - at)));
  }
}

}  // namespace coeus
