#include "coeus/data/record_dataset.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/data/images/image_text_line.h"
#include "coeus/data/permutation.h"
#include "coeus/data/record_reader.h"

namespace coeus {

namespace {

/// What makes one kind of files differ from another.
struct RecordKind {
  std::string name;
  RecordFormat format;
  FilePattern pattern;
  void (*fill)(std::string_view record, const RecordPlace& place, Document& document);
  bool has_images = false;
};

const FilePattern kJsonFiles{"*.json or *.jsonl", {".json", ".jsonl"}, {}};

const RecordKind kJson{"json", RecordFormat::kLines, kJsonFiles,
                       [](std::string_view record, const RecordPlace& place, Document& document) {
                         document = {.text = text_of_json_line(record, place), .place = place};
                       }};

const RecordKind kImageText{"image_text", RecordFormat::kLines, kJsonFiles, read_image_text_line,
                            true};

const RecordKind kFortunes{
    "fortunes",
    RecordFormat::kPercent,
    {"fortune files", {}, {".dat", ".u8"}},
    [](std::string_view record, const RecordPlace& place, Document& document) {
      check_plain_text(record, place);
      document = {.text = std::string(record), .place = place};
    }};

class RecordDataset : public Dataset {
 public:
  RecordDataset(const RecordKind& kind, const FileDatasetOptions& options)
      : Dataset(options.name),
        kind_(kind),
        options_(options),
        files_(find_data_files(options.path, kind.pattern)) {}

  bool has_images() const override { return kind_.has_images; }
  nlohmann::json identity() const override { return file_identity(kind_.name, options_, files_); }

 protected:
  const FileDatasetOptions& options() const { return options_; }
  const std::vector<DataFile>& files() const { return files_; }
  std::unique_ptr<RecordReader> open(size_t file) const {
    return reader_of(open_bytes(files_[file], stop()), file);
  }
  std::unique_ptr<RecordReader> reader_of(std::unique_ptr<ByteReader> bytes, size_t file) const {
    return std::make_unique<RecordReader>(std::move(bytes), kind_.format,
                                          files_[file].path.string(), stop());
  }
  void fill(Document& document, const Record& record, const RecordPlace& place) const {
    kind_.fill(record.bytes, place, document);
  }

 private:
  const RecordKind& kind_;
  FileDatasetOptions options_;
  std::vector<DataFile> files_;
};

/// Position: epoch, file, byte offset in the file.
class OrderedRecords : public RecordDataset {
 public:
  using RecordDataset::RecordDataset;

  bool next(Document& document) override {
    for (; file_ < files().size(); ++file_, offset_ = 0, reader_.reset()) {
      if (!reader_) {
        reader_ = open(file_);
        reader_->seek(offset_);
      }
      Record record;
      if (reader_->next(record)) {
        offset_ = reader_->offset();
        fill(document, record, {&files()[file_], record.begin});
        return true;
      }
    }
    return false;
  }

  void next_epoch() override {
    ++epoch_;
    file_ = 0;
    offset_ = 0;
    reader_.reset();
  }

  std::optional<int64_t> size() const override { return std::nullopt; }

  DatasetPosition position() const override {
    return {epoch_, static_cast<int64_t>(file_), static_cast<int64_t>(offset_)};
  }

  void seek(const DatasetPosition& position) override {
    COEUS_CHECK_AS(CheckpointError,
                   position.size() == 3 && std::ranges::min(position) >= 0 &&
                       position[1] <= static_cast<int64_t>(files().size()),
                   "[data] {} is no position in {} files", position, files().size());
    epoch_ = position[0];
    file_ = static_cast<size_t>(position[1]);
    offset_ = static_cast<uint64_t>(position[2]);
    reader_.reset();
  }

 private:
  void stop_changed() override { reader_.reset(); }

  int64_t epoch_ = 0;
  size_t file_ = 0;
  uint64_t offset_ = 0;
  std::unique_ptr<RecordReader> reader_;  // at offset_ of file_, once open
};

/// Position: epoch, documents of it that were read.
class ShuffledRecords : public RecordDataset {
 public:
  using RecordDataset::RecordDataset;

  bool next(Document& document) override {
    make_index();
    uint64_t size = starts_.size();
    COEUS_CHECK_AS(CheckpointError, done_ <= size, "[data] no document {} among {}", done_, size);
    if (done_ == size) return false;
    uint64_t chosen = Permutation(size, options().seed, static_cast<uint64_t>(epoch_))(done_);
    read(chosen, document);
    ++done_;
    return true;
  }

  void next_epoch() override {
    ++epoch_;
    done_ = 0;
  }

  std::optional<int64_t> size() const override {
    return indexed_ ? std::optional(static_cast<int64_t>(starts_.size())) : std::nullopt;
  }

  DatasetPosition position() const override { return {epoch_, static_cast<int64_t>(done_)}; }

  void seek(const DatasetPosition& position) override {
    COEUS_CHECK_AS(CheckpointError, position.size() == 2 && std::ranges::min(position) >= 0,
                   "[data] {} is no position in shuffled documents", position);
    epoch_ = position[0];
    done_ = static_cast<uint64_t>(position[1]);
  }

 private:
  void make_index() {
    if (indexed_) return;
    starts_.clear();
    file_bases_ = {0};
    contents_.assign(files().size(), {});
    uint64_t in_memory = 0;
    for (size_t i = 0; i < files().size(); ++i) {
      const auto& file = files()[i];
      uint64_t bytes = file.bytes;
      std::unique_ptr<RecordReader> reader;
      if (file.compression == Compression::kNone) {
        reader = open(i);
      } else {
        contents_[i] = decompress(file, in_memory);
        bytes = contents_[i].size();
        in_memory += bytes;
        reader = reader_of(open_bytes(contents_[i]), i);
      }
      for (Record record; reader->next(record);) {
        COEUS_CHECK_DATA(record.begin < bytes,
                         "[data] {} grew while it was being read; start again", file.path.string());
        starts_.push_back(file_bases_.back() + record.begin);
      }
      file_bases_.push_back(file_bases_.back() + bytes);
    }
    starts_.shrink_to_fit();
    indexed_ = true;
    log_info("Dataset {}: {} documents, {} bytes, indexed for shuffling", name(), starts_.size(),
             file_bases_.back());
  }

  std::string decompress(const DataFile& file, uint64_t in_memory) const {
    auto reader = open_bytes(file, stop());
    std::string contents;
    std::string chunk(size_t{1} << 18, '\0');
    while (size_t got = reader->read(chunk.data(), chunk.size())) {
      if (stop().stop_requested()) throw ReadStopped{};
      contents.append(chunk, 0, got);
      COEUS_CHECK_DATA(in_memory + contents.size() <= options().memory_limit,
                       "[data] shuffling holds compressed files in memory, and those of {} need "
                       "more than {} bytes when decompressed; decompress them on disk (gunzip, "
                       "unzstd), or turn shuffle off",
                       options().path.string(), options().memory_limit);
    }
    return contents;
  }

  void read(uint64_t chosen, Document& document) const {
    auto file = static_cast<size_t>(std::ranges::upper_bound(file_bases_, starts_[chosen]) -
                                    file_bases_.begin() - 1);
    uint64_t base = file_bases_[file];
    uint64_t begin = starts_[chosen] - base;
    bool last_of_file =
        chosen + 1 == starts_.size() || starts_[chosen + 1] >= file_bases_[file + 1];
    uint64_t end = (last_of_file ? file_bases_[file + 1] : starts_[chosen + 1]) - base;
    std::string bytes = files()[file].compression == Compression::kNone
                            ? read_range(files()[file], begin, end)
                            : contents_[file].substr(begin, end - begin);
    auto reader = reader_of(open_bytes(std::move(bytes)), file);
    Record record;
    COEUS_CHECK_DATA(reader->next(record),
                     "[data] {} has no document at byte {} any more: it was changed; start again",
                     files()[file].path.string(), begin);
    fill(document, record, {&files()[file], begin});
  }

  int64_t epoch_ = 0;
  uint64_t done_ = 0;
  bool indexed_ = false;
  std::vector<uint64_t> starts_;       // of each document, in the files laid end to end
  std::vector<uint64_t> file_bases_;   // of each file in them, and their end
  std::vector<std::string> contents_;  // of compressed files
};

std::unique_ptr<Dataset> make_record_dataset(const RecordKind& kind,
                                             const FileDatasetOptions& options) {
  if (options.shuffle) return std::make_unique<ShuffledRecords>(kind, options);
  return std::make_unique<OrderedRecords>(kind, options);
}

}  // namespace

std::unique_ptr<Dataset> make_json_dataset(const FileDatasetOptions& options) {
  return make_record_dataset(kJson, options);
}

std::unique_ptr<Dataset> make_image_text_dataset(const FileDatasetOptions& options) {
  return make_record_dataset(kImageText, options);
}

std::unique_ptr<Dataset> make_fortunes_dataset(const FileDatasetOptions& options) {
  return make_record_dataset(kFortunes, options);
}

}  // namespace coeus
