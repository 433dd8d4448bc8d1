// Where training text comes from: documents in an order that can be taken up again at any place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "coeus/data/document_text.h"

namespace coeus {

/// A document, or a part of a long one.
struct Document {
  std::string text;  ///< UTF-8; unused when `tokenized`
  /// The document as tokens, beginning and end marks included, from a data set that makes such.
  std::vector<int32_t> tokens;
  bool tokenized = false;
  /// The files of its images, for which the text has one "<|image|>" each, in this order.
  std::vector<std::filesystem::path> images;
  bool begins = true;  ///< the document starts here
  bool ends = true;    ///< and ends here
  RecordPlace place;   ///< for messages; its file belongs to the data set
};

/// "path:line" of the document, or "document" for one that is in no file. Reads the file.
std::string describe_place(const Document& document);

/// A place between two documents (or parts of one). Only its data set knows what the numbers mean.
using DatasetPosition = std::vector<int64_t>;

/// Documents one after another, epoch after epoch. Used by one thread at a time. Reading throws
/// DataError for bad data, and ReadStopped once the stop token is set.
class Dataset {
 public:
  virtual ~Dataset() = default;

  /// Gets the next document or part; false at the end of the epoch.
  virtual bool next(Document& document) = 0;
  /// Starts over, in the next epoch's order.
  virtual void next_epoch() = 0;
  /// Documents of an epoch, where known without reading everything.
  virtual std::optional<int64_t> size() const = 0;
  /// Whether documents are text, so that a tokenizer is needed.
  virtual bool needs_tokenizer() const { return true; }
  /// Whether documents may have images, so that rows must be made by ImageRows.
  virtual bool has_images() const { return false; }
  /// Whether there is no end that a finite run could come to.
  virtual bool is_endless() const { return false; }

  /// The place that `next` reads from.
  virtual DatasetPosition position() const = 0;
  /// Goes to a place that `position` gave, in this or another object of the same identity. Throws
  /// CheckpointError for numbers that are no such place.
  virtual void seek(const DatasetPosition& position) = 0;
  /// What decides the documents and their order: kind, files (number, bytes, fingerprint), seed. A
  /// position is good for any data set of equal identity; keys called "path" may differ.
  virtual nlohmann::json identity() const = 0;

  /// From now on long reads end when `stop` is set.
  void set_stop(std::stop_token stop);
  /// For the log.
  const std::string& name() const { return name_; }

 protected:
  explicit Dataset(std::string name) : name_(std::move(name)) {}
  const std::stop_token& stop() const { return stop_; }
  /// Lets go of what still holds the former stop token.
  virtual void stop_changed() {}

 private:
  std::string name_;
  std::stop_token stop_;
};

/// Throws ConfigError, naming what differs, unless a position saved by a data set of identity
/// `saved` is good for one of identity `ours`.
void check_same_identity(const nlohmann::json& saved, const nlohmann::json& ours);

/// One of several data sets read in turn.
struct MixtureEntry {
  std::string dataset;  ///< a name as in DatasetOptions
  std::string path;
  double weight = 1;  ///< its share of the documents, relative to the others' weights
};

struct DatasetOptions {
  /// json, text, fortunes, synthetic, image_text; TorchTitan's c4, c4_test and c4_validation are
  /// json, its cc12m and obelics image_text.
  std::string name;
  /// A file or folder. Empty: none (synthetic), or the system's fortunes (fortunes).
  std::string path;
  /// When not empty: these instead of `name` and `path`, which must then be empty.
  std::vector<MixtureEntry> mixture;
  /// Permutes the documents, anew each epoch.
  bool shuffle = false;
  /// Of the shuffle and of the mixture.
  uint64_t seed = 0;
  /// The model's; synthetic is made for it.
  int64_t vocab_size = 0;
  /// Shuffled compressed files are held in memory; beyond this they are refused.
  uint64_t memory_limit = uint64_t{4} << 30;
};

/// Whether a data set of this name has images.
bool is_image_dataset(std::string_view name);

/// Opens a data set. Throws ConfigError for options that make no sense and DataError for files that
/// are not there; their contents are read later.
std::unique_ptr<Dataset> make_dataset(const DatasetOptions& options);

}  // namespace coeus
