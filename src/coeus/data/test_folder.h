// For this folder's tests: files to read, and a tokenizer that anybody can check by eye.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "coeus/base/temporary_folder.h"
#include "coeus/data/token_stream.h"

namespace coeus {

/// A temporary folder that compresses files by their names.
class TestFolder : public TemporaryFolder {
 public:
  /// Writes a file and gives its path; a name ending in .gz or .zst compresses the contents.
  std::string write(const std::string& name, std::string_view contents) const {
    if (name.ends_with(".gz")) return write_raw(name, gzip(contents));
    if (name.ends_with(".zst")) return write_raw(name, zstd(contents));
    return write_raw(name, contents);
  }

  std::string write_raw(const std::string& name, std::string_view bytes) const {
    return TemporaryFolder::write(name, bytes).string();
  }

  static std::string gzip(std::string_view contents) {
    constexpr int kGzipFormat = 15 + 16;
    z_stream stream{};
    EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, kGzipFormat, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string out(deflateBound(&stream, contents.size()) + 32, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(contents.data()));
    stream.avail_in = static_cast<uInt>(contents.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
  }

  static std::string zstd(std::string_view contents) {
    std::string out(ZSTD_compressBound(contents.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), contents.data(), contents.size(), 3));
    return out;
  }
};

inline constexpr int32_t kTestBos = 256;
inline constexpr int32_t kTestEos = 257;
inline constexpr int64_t kTestVocabSize = 258;

/// Every byte is a token, BOS is 256 and EOS 257.
inline TextEncoder byte_encoder() {
  return {.encode =
              [](std::string_view text, std::vector<int32_t>& tokens) {
                for (unsigned char byte : text) tokens.push_back(byte);
              },
          .bos_id = kTestBos,
          .eos_id = kTestEos,
          .token_text = [](int32_t token) { return std::string(1, static_cast<char>(token)); }};
}

/// One JSON line of each text.
inline std::string json_lines(const std::vector<std::string>& texts) {
  std::string lines;
  for (const auto& text : texts) lines += nlohmann::json{{"text", text}}.dump() + "\n";
  return lines;
}

/// The texts of an epoch, parts joined.
inline std::vector<std::string> read_texts(Dataset& dataset) {
  std::vector<std::string> texts;
  for (Document document; dataset.next(document);) {
    if (document.begins) texts.emplace_back();
    texts.back() += document.text;
  }
  return texts;
}

/// The message of the ErrorType that `action` throws.
template <class ErrorType, class Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const ErrorType& error) {
    return error.what();
  }
  ADD_FAILURE() << "no such error was thrown";
  return "";
}

}  // namespace coeus
