#include "coeus/data/token_stream.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/base/random.h"
#include "coeus/data/token_check.h"

namespace coeus {

namespace {

using nlohmann::json;

uint64_t extend_hash(uint64_t hash, std::span<const int32_t> tokens) {
  for (int32_t token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * kGoldenGamma;
    hash ^= hash >> 32;
  }
  return hash;
}

// As text: not every reader of JSON keeps 64 bits of a number.
std::string hash_text(uint64_t hash) { return fmt::format("{:016x}", hash); }

json mark_or_null(std::optional<int32_t> mark) { return mark ? json(*mark) : json(nullptr); }

}  // namespace

TokenStream::TokenStream(Dataset& dataset, TextEncoder encoder, int64_t vocab_size, bool infinite)
    : dataset_(dataset),
      encoder_(std::move(encoder)),
      vocab_size_(vocab_size),
      infinite_(infinite) {
  check_encoder(dataset, encoder_, vocab_size);
  COEUS_CHECK_CONFIG(infinite || !dataset.is_endless(),
                     "[data] data set {} has no end; set a number of steps", dataset.name());
}

bool TokenStream::start_over() {
  COEUS_CHECK_DATA(!whole_epoch_ || epoch_has_tokens_,
                   "[data] data set {} is empty: a whole pass over it gave no token",
                   dataset_.name());
  if (!infinite_) {
    if (!ended_) log_warning("Dataset {} has run out of data", dataset_.name());
    ended_ = true;
    return false;
  }
  log_warning("Dataset {} is being re-looped", dataset_.name());
  dataset_.next_epoch();
  whole_epoch_ = true;
  epoch_has_tokens_ = false;
  return true;
}

bool TokenStream::read_document() {
  Piece piece{.before = dataset_.position()};
  while (!dataset_.next(document_)) {
    if (!start_over()) return false;
    piece.before = dataset_.position();
  }
  if (document_.tokenized) {
    piece.tokens = std::move(document_.tokens);
    check_tokens(document_, piece.tokens, encoder_, vocab_size_);
  } else {
    if (document_.begins && encoder_.bos_id) piece.tokens.push_back(*encoder_.bos_id);
    encoder_.encode(document_.text, piece.tokens);
    check_tokens(document_, piece.tokens, encoder_, vocab_size_);
    if (document_.ends && encoder_.eos_id) piece.tokens.push_back(*encoder_.eos_id);
  }
  if (piece.tokens.empty()) {
    if (document_.ends && !buffer_.empty()) buffer_.back().ends_document = true;
    return true;
  }
  piece.ends_document = document_.ends;
  buffered_ += static_cast<int64_t>(piece.tokens.size());
  epoch_has_tokens_ = true;
  buffer_.push_back(std::move(piece));
  return true;
}

bool TokenStream::prepare(int64_t size) {
  while (buffered_ < size) {
    if (!read_document()) return false;
  }
  return true;
}

bool TokenStream::drop_if_taken() {
  const auto& piece = buffer_.front();
  if (piece.taken < piece.tokens.size()) return false;
  bool ends_document = piece.ends_document;
  buffer_.pop_front();
  return ends_document;
}

std::span<const int32_t> TokenStream::take_run(size_t limit) {
  auto& piece = buffer_.front();
  size_t size = std::min(limit, piece.tokens.size() - piece.taken);
  auto run = std::span<const int32_t>(piece.tokens).subspan(piece.taken, size);
  piece.taken += size;
  piece.hash = extend_hash(piece.hash, run);
  buffered_ -= static_cast<int64_t>(size);
  tokens_taken_ += static_cast<int64_t>(size);
  return run;
}

TokenAttributes TokenStream::take(std::span<int32_t> tokens, std::span<int32_t> labels) {
  size_t length = tokens.size();
  COEUS_ASSERT(labels.size() == length && buffered_ > static_cast<int64_t>(length));
  TokenAttributes attributes;
  attributes.index.resize(length);
  attributes.document.resize(length);
  attributes.offset.resize(length);
  int32_t document = 0;
  int32_t offset = 0;
  for (size_t at = 0; at <= length;) {
    auto run = take_run(length + 1 - at);
    for (int32_t token : run) {
      if (at > 0) labels[at - 1] = token;
      if (at < length) {
        tokens[at] = token;
        attributes.index[at] = static_cast<int32_t>(at);
        attributes.document[at] = document;
        attributes.offset[at] = offset++;
      }
      ++at;
    }
    if (drop_if_taken()) {
      ++document;
      offset = 0;
    }
  }
  return attributes;
}

void TokenStream::skip(int64_t size) {
  COEUS_ASSERT(buffered_ >= size);
  while (size > 0) {
    size -= static_cast<int64_t>(take_run(static_cast<size_t>(size)).size());
    drop_if_taken();
  }
}

json TokenStream::state() const {
  bool within = !buffer_.empty();
  return {{"dataset", dataset_.identity()},
          {"bos", mark_or_null(encoder_.bos_id)},
          {"eos", mark_or_null(encoder_.eos_id)},
          {"position", within ? buffer_.front().before : dataset_.position()},
          {"skip", within ? buffer_.front().taken : 0},
          {"skipped_hash", hash_text(within ? buffer_.front().hash : 0)},
          {"tokens_taken", tokens_taken_}};
}

void TokenStream::load_state(const json& state) {
  DatasetPosition position;
  int64_t skip = 0;
  std::string hash;
  int64_t taken = 0;
  json saved;
  try {
    saved = {{"dataset", state.at("dataset")}, {"bos", state.at("bos")}, {"eos", state.at("eos")}};
    position = state.at("position").get<DatasetPosition>();
    skip = state.at("skip").get<int64_t>();
    hash = state.at("skipped_hash").get<std::string>();
    taken = state.at("tokens_taken").get<int64_t>();
  } catch (const json::exception& error) {
    throw CheckpointError(fmt::format("[data] this is no state of a loader: {}", error.what()));
  }
  COEUS_CHECK_AS(CheckpointError, skip >= 0 && taken >= 0,
                 "[data] a state that skips {} tokens after {} is none", skip, taken);
  check_same_identity(saved, {{"dataset", dataset_.identity()},
                              {"bos", mark_or_null(encoder_.bos_id)},
                              {"eos", mark_or_null(encoder_.eos_id)}});
  dataset_.seek(position);
  buffer_.clear();
  buffered_ = 0;
  ended_ = false;
  // Whether the epoch had tokens before this place is not known, nor needed.
  whole_epoch_ = false;
  epoch_has_tokens_ = false;
  if (skip > 0) {
    bool same = read_document() && buffered_ > skip;
    if (same) {
      this->skip(skip);
      same = hash_text(buffer_.front().hash) == hash;
    }
    COEUS_CHECK_CONFIG(
        same,
        "[data] the saved state lies {} tokens into the document at {}, whose tokens "
        "are others now: take the tokenizer and data of the run that saved it, or "
        "start the data from its beginning by leaving the loader's state out",
        skip, describe_place(document_));
  }
  tokens_taken_ = taken;
}

}  // namespace coeus
