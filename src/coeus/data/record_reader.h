// A file's bytes, cut into documents.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "coeus/data/byte_reader.h"

namespace coeus {

/// How documents lie in a file.
enum class RecordFormat {
  kLines,    ///< one a line (JSON lines)
  kPercent,  ///< between lines of a single % (the fortune program's files)
  kParts,    ///< the whole file is one document, which comes in parts
};

struct Record {
  std::string_view bytes;  ///< without the line end or % that closes it; valid until the next call
  uint64_t begin = 0;      ///< where in the file it starts
  bool last_part = true;   ///< kParts: nothing of the file follows
};

/// Reads records one after another. Records of nothing but white space are passed over, but in
/// kParts; so is a UTF-8 byte order mark at the file's start.
class RecordReader {
 public:
  /// A part (kParts) has about this many bytes.
  static constexpr size_t kPartBytes = size_t{1} << 20;
  /// A longer record is a file of another kind.
  static constexpr size_t kMaxRecordBytes = size_t{1} << 30;

  /// `name` is the file's, for messages. Reads throw ReadStopped once `stop` is set.
  RecordReader(std::unique_ptr<ByteReader> bytes, RecordFormat format, std::string name,
               std::stop_token stop = {}, size_t part_bytes = kPartBytes);

  /// Gets the next record; false at the end. A part ends where a line ends and the next one begins
  /// with a character that is not blank, so that a byte-level tokenizer gives a document's parts
  /// the tokens that it gives the whole; a text without such a place is cut between two characters.
  bool next(Record& record);
  /// Where the next record starts: what `seek` takes to go on from here.
  uint64_t offset() const { return base_ + begin_; }
  void seek(uint64_t offset);

 private:
  std::string_view ahead() const { return std::string_view(buffer_).substr(begin_); }
  bool refill();
  /// The length of the line that starts at `from` of ahead(), without its '\n'; refills.
  size_t line_length(size_t from);
  bool next_line(Record& record);
  bool next_between_percents(Record& record);
  bool next_part(Record& record);
  void consume(size_t size) { begin_ += size; }

  std::unique_ptr<ByteReader> bytes_;
  RecordFormat format_;
  std::string name_;
  std::stop_token stop_;
  size_t part_bytes_;
  size_t chunk_;        // bytes of the next read
  std::string buffer_;  // bytes of the file from base_ on
  uint64_t base_ = 0;
  size_t begin_ = 0;  // of the next record, in buffer_
};

}  // namespace coeus
