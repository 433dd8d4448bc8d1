// Plain text: each file is one document.
#pragma once

#include <memory>
#include <optional>

#include "coeus/data/dataset.h"
#include "coeus/data/file_dataset_options.h"
#include "coeus/data/permutation.h"
#include "coeus/data/record_reader.h"

namespace coeus {

/// A text file, or a folder's *.txt, *.text and *.md (also as .gz and .zst), each of them one
/// document, in order of name or shuffled. Long ones come in parts (RecordFormat::kParts), so a
/// file may have any size. Files without a byte are passed over.
///
/// Position: epoch, files of it that were read, byte offset in the next.
class TextDataset : public Dataset {
 public:
  explicit TextDataset(const FileDatasetOptions& options,
                       size_t part_bytes = RecordReader::kPartBytes);

  bool next(Document& document) override;
  void next_epoch() override;
  std::optional<int64_t> size() const override { return static_cast<int64_t>(files_.size()); }
  DatasetPosition position() const override;
  void seek(const DatasetPosition& position) override;
  nlohmann::json identity() const override;

 private:
  const DataFile& current_file() const;
  void stop_changed() override { reader_.reset(); }

  FileDatasetOptions options_;
  size_t part_bytes_;
  std::vector<DataFile> files_;
  int64_t epoch_ = 0;
  size_t done_ = 0;
  uint64_t offset_ = 0;
  std::unique_ptr<RecordReader> reader_;  // at offset_ of current_file(), once open
};

}  // namespace coeus
