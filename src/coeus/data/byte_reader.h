// Bytes of a plain, gzip or zstd file, from any offset on.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include "coeus/data/data_files.h"

namespace coeus {

/// Thrown out of a read when its stop token was set; never shown to a user.
struct ReadStopped {};

/// Reads a file's (decompressed) bytes in order. All methods throw DataError, naming the file, when
/// it cannot be read, is not what its name says, or ends in the middle of a compressed stream.
class ByteReader {
 public:
  virtual ~ByteReader() = default;
  /// Reads up to `size` bytes to `to` and returns how many; 0 only at the end.
  virtual size_t read(char* to, size_t size) = 0;
  /// Moves to a byte offset: at once in a plain file, by decompressing what lies before it in a
  /// compressed one.
  virtual void seek(uint64_t offset) = 0;
};

/// Opens a file by its compression. Skipping through a compressed file looks at `stop` and throws
/// ReadStopped once it is set.
std::unique_ptr<ByteReader> open_bytes(const DataFile& file, std::stop_token stop = {});

/// Reads from a string, which it keeps.
std::unique_ptr<ByteReader> open_bytes(std::string contents);

/// Reads the bytes from `begin` up to `end` of a plain file. Throws DataError when it is shorter.
std::string read_range(const DataFile& file, uint64_t begin, uint64_t end);

/// "path:line" of a byte offset, counted by reading the file from its start: for error messages.
std::string line_at(const DataFile& file, uint64_t offset);

}  // namespace coeus
