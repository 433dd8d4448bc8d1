#include "coeus/data/images/image_rows.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "coeus/base/error.h"
#include "coeus/base/ignored_label.h"
#include "coeus/base/log.h"
#include "coeus/data/byte_reader.h"
#include "coeus/data/images/image_file.h"
#include "coeus/data/images/patchify.h"
#include "coeus/data/images/resize_image.h"
#include "coeus/data/token_check.h"

namespace coeus {

namespace {

using nlohmann::json;

bool is_power_of_ten(int64_t n) {
  while (n % 10 == 0) n /= 10;
  return n == 1;
}

/// What `read` gives; its complaints preceded by the line that names the image.
template <class Read>
auto naming(const RecordPlace& place, Read&& read) {
  try {
    return read();
  } catch (const DataError& error) {
    throw DataError(fmt::format("[data] {}: {}", line_at(*place.file, place.offset), error.what()));
  }
}

}  // namespace

ImageRows::ImageRows(Dataset& dataset, TextEncoder encoder, const ImageRowOptions& options,
                     int64_t vocab_size, int64_t seq_len, bool infinite)
    : dataset_(dataset),
      encoder_(std::move(encoder)),
      options_(options),
      vocab_size_(vocab_size),
      seq_len_(seq_len),
      infinite_(infinite) {
  const auto at_least = [](const char* name, int64_t value, int64_t least) {
    COEUS_CHECK_CONFIG(value >= least, "[image_text] {} must be at least {}, got {}", name, least,
                       value);
  };
  at_least("patch_size", options.patch_size, 1);
  at_least("max_patches_per_image", options.max_patches_per_image, 1);
  at_least("the number of images a row may hold", options.max_images_per_row, 1);
  at_least("packing_buffer_size", options.packing_buffer_size, 0);
  COEUS_CHECK_CONFIG(encoder_.encode, "[image_text] needs a tokenizer; set model.hf_assets_path");
  COEUS_CHECK_CONFIG(infinite || !dataset.is_endless(),
                     "[data] data set {} has no end; set a number of steps", dataset.name());
  check_encoder(dataset, encoder_, vocab_size);
  const ImageTokenIds& ids = options.tokens;
  for (const int32_t id : {ids.image, ids.begin, ids.end, ids.pad}) {
    COEUS_CHECK_DATA(id >= 0 && id < vocab_size,
                     "[image_text] the tokenizer's special tokens for images go up to {}, but the "
                     "model's vocab_size is {}; use a tokenizer with fewer tokens",
                     std::max({ids.image, ids.begin, ids.end, ids.pad}), vocab_size);
  }
}

bool ImageRows::start_over() {
  COEUS_CHECK_DATA(!whole_epoch_ || epoch_has_samples_,
                   "[image_text] data set {} has no sample that fits a row: {} are longer than "
                   "seq_len {}, {} have more than {} images; raise training.seq_len or "
                   "data.max_images_per_batch, or lower data.max_patches_per_image",
                   dataset_.name(), too_long_, seq_len_, too_many_images_,
                   options_.max_images_per_row);
  if (too_long_ + too_many_images_ > 0) {
    log_warning("Dataset {}: {} samples left out so far", dataset_.name(),
                too_long_ + too_many_images_);
  }
  if (!infinite_) {
    if (!ended_) log_warning("Dataset {} has run out of data", dataset_.name());
    ended_ = true;
    return false;
  }
  log_warning("Dataset {} is being re-looped", dataset_.name());
  dataset_.next_epoch();
  whole_epoch_ = true;
  epoch_has_samples_ = false;
  return true;
}

bool ImageRows::next_document(DatasetPosition& before) {
  if (ended_) return false;
  before = dataset_.position();
  while (!dataset_.next(document_)) {
    if (!start_over()) return false;
    before = dataset_.position();
  }
  ++documents_;
  return true;
}

void ImageRows::leave_out(int64_t& count, const std::string& why) {
  ++count;
  if (!is_power_of_ten(count)) return;
  log_warning("Dataset {}: leaving out {}, which {}; {} such so far", dataset_.name(),
              describe_place(document_), why, count);
}

std::vector<int32_t> ImageRows::expand(const std::vector<int32_t>& text,
                                       const std::vector<SampleImage>& images) const {
  const ImageTokenIds& ids = options_.tokens;
  std::vector<int32_t> tokens;
  if (encoder_.bos_id) tokens.push_back(*encoder_.bos_id);
  auto image = images.begin();
  for (const int32_t token : text) {
    if (token != ids.image) {
      tokens.push_back(token);
      continue;
    }
    const int64_t patches =
        image->size.width / options_.patch_size * (image->size.height / options_.patch_size);
    ++image;
    tokens.push_back(ids.begin);
    tokens.insert(tokens.end(), static_cast<size_t>(patches), ids.image);
    tokens.push_back(ids.end);
  }
  if (encoder_.eos_id) tokens.push_back(*encoder_.eos_id);
  return tokens;
}

bool ImageRows::make_sample(Sample& sample) {
  // A part of a text file: the whole is longer than any row.
  if (!document_.begins || !document_.ends) {
    if (document_.begins) leave_out(too_long_, "is a whole file, longer than a row");
    return false;
  }
  const auto images = static_cast<int64_t>(document_.images.size());
  if (images > options_.max_images_per_row) {
    leave_out(too_many_images_, fmt::format("has {} images, where a row takes {}", images,
                                            options_.max_images_per_row));
    return false;
  }
  std::vector<int32_t> text;
  if (document_.tokenized) {
    text = document_.tokens;
  } else {
    encoder_.encode(document_.text, text);
  }
  check_tokens(document_, text, encoder_, vocab_size_);
  const auto places = std::ranges::count(text, options_.tokens.image);
  COEUS_CHECK_DATA(places == images,
                   "[data] {}: the text has {} {} where images go, but there are {} images",
                   describe_place(document_), places, kImageToken, images);
  for (const auto& path : document_.images) {
    sample.images.push_back(naming(document_.place, [&] {
      const ImageSize size = read_image_size(path);
      try {
        return SampleImage{path,
                           fit_image(size, options_.patch_size, options_.max_patches_per_image)};
      } catch (const DataError& error) {
        throw DataError(fmt::format("{}: {}", path.string(), error.what()));
      }
    }));
  }
  sample.tokens = expand(text, sample.images);
  sample.place = document_.place;
  if (static_cast<int64_t>(sample.tokens.size()) > seq_len_) {
    leave_out(too_long_,
              fmt::format("has {} tokens, more than seq_len {}", sample.tokens.size(), seq_len_));
    return false;
  }
  return !sample.tokens.empty();
}

bool ImageRows::read_sample() {
  for (;;) {
    Sample sample{.number = documents_};
    if (!next_document(sample.before)) return false;
    if (!make_sample(sample)) continue;
    epoch_has_samples_ = true;
    buffer_.push_back(std::move(sample));
    return true;
  }
}

void ImageRows::fill_buffer() {
  const auto size = static_cast<size_t>(std::max<int64_t>(options_.packing_buffer_size, 1));
  while (buffer_.size() < size && read_sample()) continue;
}

bool ImageRows::move_to_row() {
  int64_t tokens = seq_len_;
  int64_t images = options_.max_images_per_row;
  for (const Sample& sample : row_) {
    tokens -= static_cast<int64_t>(sample.tokens.size());
    images -= static_cast<int64_t>(sample.images.size());
  }
  const auto chosen = std::ranges::find_if(buffer_, [&](const Sample& sample) {
    return static_cast<int64_t>(sample.tokens.size()) <= tokens &&
           static_cast<int64_t>(sample.images.size()) <= images;
  });
  if (chosen == buffer_.end()) return false;
  row_.push_back(std::move(*chosen));
  buffer_.erase(chosen);
  return true;
}

bool ImageRows::prepare() {
  row_.clear();
  do {
    fill_buffer();
  } while (move_to_row() && options_.packing_buffer_size > 0);
  return !row_.empty();
}

void ImageRows::append_images(const Sample& sample, ImagePatches& images) const {
  for (const SampleImage& image : sample.images) {
    images.patch_dim = patch_dim_of(options_.patch_size);
    images.grids.push_back(naming(sample.place, [&] {
      return append_patches(resize_image(read_image(image.path), image.size), options_.patch_size,
                            images.values);
    }));
  }
}

TokenAttributes ImageRows::take(std::span<int32_t> tokens, std::span<int32_t> labels,
                                ImagePatches& images) {
  COEUS_ASSERT(static_cast<int64_t>(tokens.size()) == seq_len_ && labels.size() == tokens.size() &&
               !row_.empty());
  TokenAttributes attributes;
  size_t at = 0;
  int32_t document = 0;
  const auto add_document = [&](size_t size) {
    for (size_t offset = 0; offset < size; ++offset) {
      attributes.index.push_back(static_cast<int32_t>(at + offset));
      attributes.document.push_back(document);
      attributes.offset.push_back(static_cast<int32_t>(offset));
    }
    at += size;
    ++document;
  };
  for (const Sample& sample : row_) {
    std::ranges::copy(sample.tokens, tokens.begin() + static_cast<ptrdiff_t>(at));
    add_document(sample.tokens.size());
    append_images(sample, images);
  }
  std::ranges::fill(tokens.subspan(at), options_.tokens.pad);
  const size_t used = at;
  add_document(tokens.size() - used);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool is_text = i + 1 < used && !options_.tokens.hides(tokens[i + 1]);
    labels[i] = is_text ? tokens[i + 1] : kIgnoredLabel;
  }
  row_.clear();
  return attributes;
}

json ImageRows::identity() const {
  const auto mark = [](std::optional<int32_t> id) { return id ? json(*id) : json(nullptr); };
  const ImageTokenIds& ids = options_.tokens;
  return {{"dataset", dataset_.identity()},
          {"bos", mark(encoder_.bos_id)},
          {"eos", mark(encoder_.eos_id)},
          {"image_tokens", {ids.image, ids.begin, ids.end, ids.pad}},
          {"patch_size", options_.patch_size},
          {"max_patches_per_image", options_.max_patches_per_image}};
}

json ImageRows::state() const {
  COEUS_ASSERT(row_.empty());
  json state = identity();
  const int64_t first = buffer_.empty() ? documents_ : buffer_.front().number;
  json waiting = json::array();
  for (const Sample& sample : buffer_) waiting.push_back(sample.number - first);
  state["position"] = buffer_.empty() ? dataset_.position() : buffer_.front().before;
  state["documents_read"] = documents_ - first;
  state["waiting"] = std::move(waiting);
  return state;
}

void ImageRows::load_state(const json& state) {
  json saved;
  DatasetPosition position;
  int64_t documents = 0;
  std::set<int64_t> waiting;
  const json ours = identity();
  try {
    for (const auto& item : ours.items()) saved[item.key()] = state.at(item.key());
    position = state.at("position").get<DatasetPosition>();
    documents = state.at("documents_read").get<int64_t>();
    for (const json& number : state.at("waiting")) waiting.insert(number.get<int64_t>());
  } catch (const json::exception& error) {
    throw CheckpointError(
        fmt::format("[data] this is no state of a loader of images: {}", error.what()));
  }
  COEUS_CHECK_AS(CheckpointError,
                 documents >= 0 &&
                     (waiting.empty() || (*waiting.begin() >= 0 && *waiting.rbegin() < documents)),
                 "[data] a state with samples waiting among {} documents is none", documents);
  check_same_identity(saved, ours);
  dataset_.seek(position);
  buffer_.clear();
  row_.clear();
  documents_ = 0;
  ended_ = false;
  // Whether the epoch had samples before this place is not known, nor needed.
  whole_epoch_ = false;
  epoch_has_samples_ = false;
  while (documents_ < documents) {
    Sample sample{.number = documents_};
    COEUS_CHECK_CONFIG(next_document(sample.before),
                       "[data] the saved state lies {} documents after one that is followed by {}; "
                       "take the data of the run that saved it",
                       documents, documents_);
    if (waiting.contains(sample.number) && make_sample(sample)) {
      buffer_.push_back(std::move(sample));
    }
  }
}

}  // namespace coeus
