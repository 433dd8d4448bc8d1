#include "coeus/train/score_input.h"

#include <nlohmann/json.hpp>
#include <numeric>

#include "coeus/base/error.h"
#include "coeus/base/nearest_name.h"

namespace coeus {

namespace {

using nlohmann::json;

const std::vector<std::string> kNames = {"tokens", "text", "documents"};

/// Reads one line; `place_` begins every complaint about it.
class LineReader {
 public:
  LineReader(std::string place, int64_t vocab_size, const EncodeText& encode)
      : place_(std::move(place)), vocab_size_(vocab_size), encode_(encode) {}

  ScoreLine read(const std::string& text) const {
    const json object = parse(text);
    check_names(object);
    ScoreLine line;
    line.is_text = object.contains("text");
    line.tokens = line.is_text ? encoded(object.at("text")) : token_ids(object.at("tokens"));
    const auto length = static_cast<int64_t>(line.tokens.size());
    if (object.contains("documents"))
      line.documents = lengths(object.at("documents"), length);
    else if (length > 0)
      line.documents = {length};
    return line;
  }

 private:
  json parse(const std::string& text) const {
    try {
      json value = json::parse(text);
      COEUS_CHECK_DATA(value.is_object(),
                       "{}: must be an object with \"tokens\" or \"text\", got {}", place_,
                       value.type_name());
      return value;
    } catch (const json::exception& error) {
      throw DataError(fmt::format("{}: is not JSON: {}", place_, error.what()));
    }
  }

  void check_names(const json& object) const {
    for (const auto& [name, value] : object.items()) {
      const auto near = nearest_name(name, kNames);
      // Short names are near to much: one typo and no more counts as that.
      COEUS_CHECK_DATA(!near || name == *near || count_typos(name, *near) > 1,
                       "{}: \"{}\" is not known; is \"{}\" meant?", place_, name, *near);
    }
    const bool has_tokens = object.contains("tokens"), has_text = object.contains("text");
    COEUS_CHECK_DATA(has_tokens || has_text, "{}: has neither \"tokens\" nor \"text\"", place_);
    COEUS_CHECK_DATA(!has_tokens || !has_text,
                     "{}: has both \"tokens\" and \"text\"; give one of the two", place_);
  }

  std::vector<int32_t> token_ids(const json& list) const {
    COEUS_CHECK_DATA(list.is_array(), "{}: \"tokens\" must be a list of ids, got {}", place_,
                     list.type_name());
    std::vector<int32_t> tokens;
    tokens.reserve(list.size());
    for (const json& id : list) {
      COEUS_CHECK_DATA(
          id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(vocab_size_),
          "{}: token {} is {}; the model's ids are whole numbers from 0 to {}", place_,
          tokens.size(), id.dump(), vocab_size_ - 1);
      tokens.push_back(id.get<int32_t>());
    }
    return tokens;
  }

  std::vector<int32_t> encoded(const json& text) const {
    COEUS_CHECK_DATA(text.is_string(), "{}: \"text\" must be a string, got {}", place_,
                     text.type_name());
    return encode_(text.get<std::string>());
  }

  std::vector<int64_t> lengths(const json& list, int64_t tokens) const {
    COEUS_CHECK_DATA(list.is_array(), "{}: \"documents\" must be a list of lengths, got {}", place_,
                     list.type_name());
    std::vector<int64_t> lengths;
    int64_t sum = 0;
    for (const json& length : list) {
      // No length may pass the whole, so the sum cannot overflow.
      COEUS_CHECK_DATA(length.is_number_unsigned() && length.get<uint64_t>() >= 1 &&
                           length.get<uint64_t>() <= static_cast<uint64_t>(tokens),
                       "{}: a document of {} tokens; lengths are whole numbers from 1 to the "
                       "line's {} tokens",
                       place_, length.dump(), tokens);
      lengths.push_back(length.get<int64_t>());
      sum += lengths.back();
    }
    COEUS_CHECK_DATA(sum == tokens, "{}: \"documents\" sum to {}, but there are {} tokens", place_,
                     sum, tokens);
    return lengths;
  }

  std::string place_;
  int64_t vocab_size_;
  const EncodeText& encode_;
};

}  // namespace

std::vector<ScoreLine> read_score_lines(std::istream& in, const std::string& name,
                                        int64_t vocab_size, const EncodeText& encode) {
  std::vector<ScoreLine> lines;
  int64_t number = 0;
  for (std::string text; std::getline(in, text);) {
    ++number;
    if (number == 1 && text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const LineReader reader(fmt::format("{}:{}", name, number), vocab_size, encode);
    lines.push_back(reader.read(text));
    lines.back().number = number;
  }
  COEUS_CHECK_DATA(!in.bad(), "{}: cannot be read", name);
  COEUS_CHECK_DATA(!lines.empty(), "{}: has no line to score", name);
  return lines;
}

}  // namespace coeus
