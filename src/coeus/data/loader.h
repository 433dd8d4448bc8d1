// Batches, made ahead of the step that needs them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "coeus/data/batch.h"
#include "coeus/data/dataset.h"
#include "coeus/data/images/image_rows.h"
#include "coeus/data/row_source.h"

namespace coeus {

/// What RoPE sees as a token's position.
enum class Positions {
  kSequence,  ///< its index in the row, as in TorchTitan
  kDocument,  ///< its place in its document, counted within the row
};

struct LoaderOptions {
  int64_t seq_len = 2048;
  int64_t local_batch_size = 8;  ///< rows of a micro-batch of one rank
  int64_t dp_rank = 0;
  int64_t dp_world = 1;  ///< ranks that take different rows
  int64_t vocab_size = 0;
  Positions positions = Positions::kSequence;
  int64_t prefetch = 4;          ///< batches that may wait ready
  int64_t batches_per_step = 1;  ///< that are finished together: see FinishBatches
  bool infinite = true;  ///< start over when the data ends; otherwise `next` comes to an end
  std::optional<ImageRowOptions> images = {};  ///< set: rows are made by ImageRows
};

/// Makes the batches of one step of this rank (fewer at the end of a finite loader) ready to be
/// trained on, in the loader's thread: lowers their masks, selects this rank's tokens. It may move
/// rows from one batch to another, but none in or out.
using FinishBatches = std::function<void(std::span<Batch> step)>;

/// Reads, tokenizes, packs and finishes batches in a thread of its own.
///
/// Sample g is piece g of the token stream (TokenStream), or row g of ImageRows. Micro-batch k of
/// all ranks together is samples k * W * L to (k + 1) * W * L - 1, W ranks of L rows each, of which
/// rank r takes L in a row from k * W * L + r * L on. A step takes as many micro-batches as it
/// accumulates, so a global batch is the same samples however they are spread, and a state saved on
/// any number of ranks resumes on any other. Every rank walks the whole stream.
///
/// A finite loader (infinite = false) drops the last tokens that fill no piece, as TorchTitan does,
/// and fills up the last micro-batch with rows of ignored labels, so that all ranks get equally
/// many batches of one shape.
///
/// All methods are for one thread, but for the loader's own.
class Loader {
 public:
  /// Starts reading at once. Throws ConfigError for options out of range, and for data with images
  /// without options for them. Errors in the data come
  /// out of `next`, after the batches before them.
  Loader(std::unique_ptr<Dataset> dataset, TextEncoder encoder, const LoaderOptions& options,
         FinishBatches finish = {});
  /// Ends the thread; a long read or decompression is broken off.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next batch; nothing at the end of a finite loader. Throws what the loader's thread threw,
  /// DataError as a rule, at every call from then on.
  std::optional<Batch> next();
  /// How long the last `next` waited for its batch.
  double last_wait_seconds() const { return last_wait_seconds_; }

  /// Where the next batch comes from: after the batches that `next` gave, whatever is ready beyond.
  /// The same on all ranks. Lists what decides the order of samples; seq_len, the batch size, the
  /// number of ranks and the place of the files in the system may change before a resume.
  nlohmann::json state() const { return state_; }
  /// Goes on exactly after the batches that came before `state` was made. Throws ConfigError,
  /// naming what differs, for a state of other data, and CheckpointError for what is no state; the
  /// loader then goes on as if it had not been called.
  void load_state(const nlohmann::json& state);
  /// Goes back to the first batch.
  void restart() { load_state(first_state_); }

 private:
  void start();
  void stop();
  void work(const std::stop_token& stop);
  /// Those of a step that there are.
  std::vector<Batch> make_step();
  std::optional<Batch> make_batch();
  void fill_row(Batch& batch, int64_t row, TokenAttributes attributes) const;
  void place(const nlohmann::json& state);
  nlohmann::json source_state() const;

  std::unique_ptr<Dataset> dataset_;
  LoaderOptions options_;
  FinishBatches finish_;

  // The thread's alone while it runs.
  std::unique_ptr<RowSource> source_;
  int64_t samples_ = 0;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Batch> ready_;
  bool ended_ = false;
  std::exception_ptr error_;

  nlohmann::json first_state_;
  nlohmann::json state_;
  double last_wait_seconds_ = 0;
  std::jthread thread_;
};

}  // namespace coeus
