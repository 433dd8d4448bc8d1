#include "coeus/data/record_reader.h"

#include <algorithm>

#include "coeus/base/error.h"

namespace coeus {

namespace {

// Reads grow from the first to the last: a reader of one short document must be cheap.
constexpr size_t kFirstChunk = size_t{1} << 12;
constexpr size_t kLastChunk = size_t{1} << 18;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_blank(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return is_blank(c); });
}

}  // namespace

RecordReader::RecordReader(std::unique_ptr<ByteReader> bytes, RecordFormat format, std::string name,
                           std::stop_token stop, size_t part_bytes)
    : bytes_(std::move(bytes)),
      format_(format),
      name_(std::move(name)),
      stop_(std::move(stop)),
      part_bytes_(part_bytes),
      chunk_(kFirstChunk) {}

void RecordReader::seek(uint64_t offset) {
  bytes_->seek(offset);
  base_ = offset;
  begin_ = 0;
  buffer_.clear();
}

bool RecordReader::refill() {
  if (stop_.stop_requested()) throw ReadStopped{};
  if (begin_ > 0) {
    buffer_.erase(0, begin_);
    base_ += begin_;
    begin_ = 0;
  }
  COEUS_CHECK_DATA(buffer_.size() < kMaxRecordBytes,
                   "[data] {}: the document at byte {} has more than {} bytes; is the file of "
                   "another kind?",
                   name_, base_, kMaxRecordBytes);
  size_t had = buffer_.size();
  buffer_.resize(had + chunk_);
  buffer_.resize(had + bytes_->read(buffer_.data() + had, chunk_));
  chunk_ = std::min(2 * chunk_, kLastChunk);
  return buffer_.size() > had;
}

bool RecordReader::next(Record& record) {
  if (offset() == 0) {
    while (ahead().size() < kByteOrderMark.size() && refill()) continue;
    if (ahead().starts_with(kByteOrderMark)) consume(kByteOrderMark.size());
  }
  switch (format_) {
    case RecordFormat::kLines:
      return next_line(record);
    case RecordFormat::kPercent:
      return next_between_percents(record);
    case RecordFormat::kParts:
      return next_part(record);
  }
  COEUS_ASSERT(false);
}

size_t RecordReader::line_length(size_t from) {
  size_t searched = from;
  for (;;) {
    size_t end = ahead().find('\n', searched);
    if (end != std::string_view::npos) return end - from;
    searched = ahead().size();
    if (!refill()) return ahead().size() - from;
  }
}

bool RecordReader::next_line(Record& record) {
  for (;;) {
    size_t length = line_length(0);
    if (ahead().empty()) return false;
    record = {.bytes = ahead().substr(0, length), .begin = offset()};
    consume(std::min(length + 1, ahead().size()));
    if (!is_blank(record.bytes)) return true;
  }
}

bool RecordReader::next_between_percents(Record& record) {
  for (;;) {
    size_t length = 0;
    size_t size = 0;
    for (;;) {
      size_t line_size = line_length(length);
      std::string_view line = ahead().substr(length, line_size);
      bool at_end = length + line_size == ahead().size();
      bool closes = line == "%" || line == "%\r";
      size = length + line_size + (at_end ? 0 : 1);
      if (closes) break;
      length = size;
      if (at_end) break;
    }
    if (ahead().empty()) return false;
    record = {.bytes = ahead().substr(0, length), .begin = offset()};
    if (record.bytes.ends_with('\n')) record.bytes.remove_suffix(1);
    consume(size);
    if (!is_blank(record.bytes)) return true;
  }
}

bool RecordReader::next_part(Record& record) {
  auto has = [&](size_t size) {
    while (ahead().size() < size) {
      if (!refill()) return false;
    }
    return true;
  };
  size_t cut = part_bytes_;
  while (cut < 2 * part_bytes_ && has(cut + 1) &&
         !(ahead()[cut - 1] == '\n' && !is_blank(ahead()[cut]))) {
    ++cut;
  }
  if (!has(cut + 1)) {
    cut = ahead().size();
  } else if (cut == 2 * part_bytes_) {
    auto continues_character = [&](size_t at) {
      return (static_cast<unsigned char>(ahead()[at]) & 0xC0) == 0x80;
    };
    while (cut > part_bytes_ && continues_character(cut)) --cut;
  }
  if (cut == 0) return false;
  bool last = !has(cut + 1);
  record = {.bytes = ahead().substr(0, cut), .begin = offset(), .last_part = last};
  consume(cut);
  return true;
}

}  // namespace coeus
