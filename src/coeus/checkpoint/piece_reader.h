// Reads the bytes of stored pieces and compares whatever it happens to read in full with its
// checksum.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/stored_piece.h"

namespace coeus {

/// Opens a file once for all of its tensors, as long as not too many are open: a checkpoint may
/// have more files than a process may open.
class OpenFiles {
 public:
  /// `file_system` outlives this.
  explicit OpenFiles(FileSystem& file_system) : file_system_(file_system) {}
  /// Good until the next call.
  ReadableFile& at(const std::filesystem::path& path);

 private:
  FileSystem& file_system_;
  std::map<std::filesystem::path, std::unique_ptr<ReadableFile>> files_;
};

/// Reads one piece, from any place in any order. A chunk that is read from its start to its end
/// without a gap is compared with its checksum; of a chunk that is read in part only the part that
/// is asked for is read, and nothing is compared.
class PieceReader {
 public:
  /// All are referred to. `tensor` is what the piece is of, for messages.
  PieceReader(ReadableFile& file, const std::string& tensor, const StoredPiece& piece)
      : file_(file), tensor_(tensor), piece_(piece) {}

  /// Fills `into` from the piece's byte `offset` on. Throws FileError, and CheckpointError, naming
  /// file, tensor and byte range, for a chunk that is not what the checksum says.
  void read(uint64_t offset, std::span<std::byte> into);

 private:
  void follow(uint64_t offset, std::span<const std::byte> bytes);
  void compare(uint64_t chunk) const;

  ReadableFile& file_;
  const std::string& tensor_;
  const StoredPiece& piece_;
  std::optional<ChecksumStream> stream_;  ///< of the chunk being read, while none of it is missing
  uint64_t next_ = 0;
};

/// Reads a chunk of the piece, through the buffer, for nothing but its checksum.
void verify_chunk(ReadableFile& file, const std::string& tensor, const StoredPiece& piece,
                  uint64_t chunk, std::span<std::byte> buffer);

}  // namespace coeus
