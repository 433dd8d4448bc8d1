#include "coeus/data/text_dataset.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"

namespace coeus {

namespace {

const FilePattern kPattern{"*.txt, *.text or *.md", {".txt", ".text", ".md"}, {}};

}  // namespace

TextDataset::TextDataset(const FileDatasetOptions& options, size_t part_bytes)
    : Dataset(options.name),
      options_(options),
      part_bytes_(part_bytes),
      files_(find_data_files(options.path, kPattern)) {}

const DataFile& TextDataset::current_file() const {
  if (!options_.shuffle) return files_[done_];
  return files_[Permutation(files_.size(), options_.seed, static_cast<uint64_t>(epoch_))(done_)];
}

bool TextDataset::next(Document& document) {
  for (; done_ < files_.size(); ++done_, offset_ = 0, reader_.reset()) {
    const auto& file = current_file();
    if (!reader_) {
      reader_ = std::make_unique<RecordReader>(open_bytes(file, stop()), RecordFormat::kParts,
                                               file.path.string(), stop(), part_bytes_);
      reader_->seek(offset_);
    }
    Record record;
    if (!reader_->next(record)) continue;
    RecordPlace place{&file, record.begin};
    check_plain_text(record.bytes, place);
    document = {.text = std::string(record.bytes),
                .begins = offset_ == 0,
                .ends = record.last_part,
                .place = place};
    offset_ = reader_->offset();
    return true;
  }
  return false;
}

void TextDataset::next_epoch() {
  ++epoch_;
  done_ = 0;
  offset_ = 0;
  reader_.reset();
}

DatasetPosition TextDataset::position() const {
  return {epoch_, static_cast<int64_t>(done_), static_cast<int64_t>(offset_)};
}

void TextDataset::seek(const DatasetPosition& position) {
  COEUS_CHECK_AS(CheckpointError,
                 position.size() == 3 && std::ranges::min(position) >= 0 &&
                     position[1] <= static_cast<int64_t>(files_.size()),
                 "[data] {} is no position in {} files", position, files_.size());
  epoch_ = position[0];
  done_ = static_cast<size_t>(position[1]);
  offset_ = static_cast<uint64_t>(position[2]);
  reader_.reset();
}

nlohmann::json TextDataset::identity() const { return file_identity("text", options_, files_); }

}  // namespace coeus
