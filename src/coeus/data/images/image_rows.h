// Rows of texts with images.
#pragma once

#include <deque>
#include <filesystem>
#include <vector>

#include "coeus/data/dataset.h"
#include "coeus/data/images/image.h"
#include "coeus/data/images/image_token_ids.h"
#include "coeus/data/row_source.h"
#include "coeus/data/text_encoder.h"

namespace coeus {

struct ImageRowOptions {
  int64_t patch_size = 16;              ///< pixels of a patch's side
  int64_t max_patches_per_image = 256;  ///< larger images are shrunk (fit_image)
  int64_t max_images_per_row = 1;
  /// Samples to choose from when rows are packed; 0: one sample a row.
  int64_t packing_buffer_size = 0;
  ImageTokenIds tokens;
};

/// A sample is a document: BOS, its text with every image as begin, one image token a patch, and
/// end, then EOS. Rows hold whole samples, each a document of the row, and pad tokens in a
/// document of their own after them. Samples that fit no row (longer than seq_len, or of more
/// images than a row takes) are left out, with a notice that counts them.
///
/// A packed row takes the sample that has waited longest, then again and again the first of those
/// in the buffer that still fits, until none does; the buffer is refilled all along. With a buffer
/// of one the order of samples stays.
///
/// A token's label is the token that follows it in the row, or kIgnoredLabel where that is one of
/// the four image tokens or the row ends: as in TorchTitan.
///
/// Only the headers of images are read to pack them; their pixels, when a row is taken.
class ImageRows : public RowSource {
 public:
  /// The data set must outlive the rows. Throws ConfigError for options out of range and for a
  /// missing tokenizer, and DataError for tokens outside the vocabulary.
  ImageRows(Dataset& dataset, TextEncoder encoder, const ImageRowOptions& options,
            int64_t vocab_size, int64_t seq_len, bool infinite);

  /// Throws DataError when a whole epoch has no sample that fits, and, naming the line and the
  /// file, for an image that cannot be read.
  bool prepare() override;
  TokenAttributes take(std::span<int32_t> tokens, std::span<int32_t> labels,
                       ImagePatches& images) override;
  void skip() override { row_.clear(); }
  int32_t padding_token() const override { return options_.tokens.pad; }
  int32_t image_token() const override { return options_.tokens.image; }
  nlohmann::json state() const override;
  void load_state(const nlohmann::json& state) override;

 private:
  struct SampleImage {
    std::filesystem::path path;
    ImageSize size;  // that it is resized to
  };
  struct Sample {
    std::vector<int32_t> tokens;
    std::vector<SampleImage> images;
    RecordPlace place;
    DatasetPosition before;  // the data set's position before it was read
    int64_t number = 0;      // of documents read before it, since the last load_state
  };

  bool next_document(DatasetPosition& before);
  bool start_over();
  bool read_sample();
  // Nothing for a document that gives no sample.
  bool make_sample(Sample& sample);
  std::vector<int32_t> expand(const std::vector<int32_t>& text,
                              const std::vector<SampleImage>& images) const;
  bool move_to_row();
  void fill_buffer();
  void leave_out(int64_t& count, const std::string& why);
  void append_images(const Sample& sample, ImagePatches& images) const;
  nlohmann::json identity() const;

  Dataset& dataset_;
  TextEncoder encoder_;
  ImageRowOptions options_;
  int64_t vocab_size_;
  int64_t seq_len_;
  bool infinite_;

  Document document_;
  std::deque<Sample> buffer_;  // in the order of reading
  std::vector<Sample> row_;    // the prepared row's
  int64_t documents_ = 0;      // read since the last load_state
  int64_t too_long_ = 0;
  int64_t too_many_images_ = 0;
  bool whole_epoch_ = true;  // the epoch is being read from its start
  bool epoch_has_samples_ = false;
  bool ended_ = false;
};

}  // namespace coeus
