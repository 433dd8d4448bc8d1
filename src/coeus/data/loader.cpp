#include "coeus/data/loader.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>

#include "coeus/base/error.h"
#include "coeus/data/byte_reader.h"
#include "coeus/data/text_rows.h"

namespace coeus {

namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr int kStateVersion = 1;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void check(const LoaderOptions& options) {
  auto at_least_one = [](const char* name, int64_t value) {
    COEUS_CHECK_CONFIG(value >= 1, "[loader] {} must be at least 1, got {}", name, value);
  };
  at_least_one("seq_len", options.seq_len);
  at_least_one("local_batch_size", options.local_batch_size);
  at_least_one("the number of data-parallel ranks", options.dp_world);
  at_least_one("the number of prefetched batches", options.prefetch);
  at_least_one("the number of batches of a step", options.batches_per_step);
  COEUS_CHECK_CONFIG(options.seq_len < std::numeric_limits<int32_t>::max(),
                     "[loader] seq_len must be below 2^31 - 1, got {}", options.seq_len);
  COEUS_CHECK_CONFIG(options.dp_rank >= 0 && options.dp_rank < options.dp_world,
                     "[loader] data-parallel rank {} is not among {} ranks", options.dp_rank,
                     options.dp_world);
}

const LoaderOptions& checked(const LoaderOptions& options) {
  check(options);
  return options;
}

std::unique_ptr<RowSource> make_source(Dataset& dataset, TextEncoder encoder,
                                       const LoaderOptions& options) {
  if (options.images) {
    return std::make_unique<ImageRows>(dataset, std::move(encoder), *options.images,
                                       options.vocab_size, options.seq_len, options.infinite);
  }
  COEUS_CHECK_CONFIG(!dataset.has_images(),
                     "[loader] data set {} has images, which only a vision-language model takes",
                     dataset.name());
  return std::make_unique<TextRows>(dataset, std::move(encoder), options.vocab_size,
                                    options.seq_len, options.infinite);
}

}  // namespace

Loader::Loader(std::unique_ptr<Dataset> dataset, TextEncoder encoder, const LoaderOptions& options,
               FinishBatches finish)
    : dataset_(std::move(dataset)),
      options_(checked(options)),
      finish_(std::move(finish)),
      source_(make_source(*dataset_, std::move(encoder), options_)) {
  first_state_ = state_ = source_state();
  start();
}

Loader::~Loader() { stop(); }

void Loader::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
}

void Loader::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  ready_.clear();
  ended_ = false;
  error_ = nullptr;
}

void Loader::work(const std::stop_token& stop) {
  try {
    dataset_->set_stop(stop);
    while (!stop.stop_requested()) {
      std::vector<Batch> step = make_step();
      std::unique_lock lock(mutex_);
      for (Batch& batch : step) {
        const bool has_room = changed_.wait(
            lock, stop, [&] { return ready_.size() < static_cast<size_t>(options_.prefetch); });
        if (!has_room) return;
        ready_.push_back(std::move(batch));
        changed_.notify_all();
      }
      if (static_cast<int64_t>(step.size()) < options_.batches_per_step) {
        ended_ = true;
        changed_.notify_all();
        return;
      }
    }
  } catch (const ReadStopped&) {
  } catch (...) {
    std::unique_lock lock(mutex_);
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

std::optional<Batch> Loader::next() {
  auto start = Clock::now();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !ready_.empty() || ended_ || error_; });
  last_wait_seconds_ = seconds_since(start);
  if (ready_.empty()) {
    if (error_) std::rethrow_exception(error_);
    return std::nullopt;
  }
  Batch batch = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  state_ = batch.state_after;
  return batch;
}

std::vector<Batch> Loader::make_step() {
  std::vector<Batch> step;
  while (static_cast<int64_t>(step.size()) < options_.batches_per_step) {
    auto batch = make_batch();
    if (!batch) break;
    step.push_back(std::move(*batch));
  }
  if (finish_ && !step.empty()) {
    const auto start = Clock::now();
    finish_(step);
    const double seconds = seconds_since(start) / static_cast<double>(step.size());
    for (Batch& batch : step) batch.mask_seconds = seconds;
  }
  return step;
}

std::optional<Batch> Loader::make_batch() {
  const auto start = Clock::now();
  int64_t rows = options_.local_batch_size;
  auto size = static_cast<size_t>(rows * options_.seq_len);
  Batch batch{.batch_size = rows, .seq_len = options_.seq_len, .row_length = options_.seq_len};
  batch.tokens.resize(size, source_->padding_token());
  batch.labels.resize(size, kIgnoredLabel);
  batch.positions.resize(size);
  batch.images.token = source_->image_token();
  batch.first_sample = samples_ + options_.dp_rank * rows;

  int64_t row = 0;
  int64_t sample = 0;
  for (; sample < options_.dp_world * rows && source_->prepare(); ++sample) {
    if (sample / rows != options_.dp_rank) {
      source_->skip();
      continue;
    }
    auto at = static_cast<size_t>(row * options_.seq_len);
    auto length = static_cast<size_t>(options_.seq_len);
    fill_row(batch, row++,
             source_->take(std::span(batch.tokens).subspan(at, length),
                           std::span(batch.labels).subspan(at, length), batch.images));
  }
  if (sample == 0) return std::nullopt;

  batch.valid_labels = batch.own_labels();
  batch.images.layout = layout_of(batch.images.grids);
  samples_ += sample;
  while (row < rows) {
    TokenAttributes padding;
    padding.index.resize(static_cast<size_t>(options_.seq_len));
    std::iota(padding.index.begin(), padding.index.end(), 0);
    padding.document.resize(padding.index.size());
    padding.offset = padding.index;
    fill_row(batch, row++, std::move(padding));
  }
  batch.read_seconds = seconds_since(start);
  batch.state_after = source_state();
  return batch;
}

void Loader::fill_row(Batch& batch, int64_t row, TokenAttributes attributes) const {
  const auto& positions =
      options_.positions == Positions::kDocument ? attributes.offset : attributes.index;
  std::ranges::copy(positions, batch.positions.begin() + row * options_.seq_len);
  batch.documents += attributes.document.back() + 1;
  batch.layouts.push_back(SequenceLayout::self(std::move(attributes)));
}

json Loader::source_state() const {
  return {{"version", kStateVersion}, {"samples", samples_}, {"stream", source_->state()}};
}

void Loader::place(const json& state) {
  COEUS_CHECK_AS(CheckpointError,
                 state.is_object() && state.value("version", json()) == kStateVersion &&
                     state.value("samples", json()).is_number_integer() && state.contains("stream"),
                 "[loader] this is no state of a loader of version {}", kStateVersion);
  source_->load_state(state["stream"]);
  samples_ = state["samples"].get<int64_t>();
}

void Loader::load_state(const json& state) {
  stop();
  dataset_->set_stop({});
  try {
    place(state);
    state_ = source_state();
  } catch (...) {
    try {
      place(json(state_));
      start();
    } catch (...) {
      error_ = std::current_exception();
    }
    throw;
  }
  start();
}

}  // namespace coeus
