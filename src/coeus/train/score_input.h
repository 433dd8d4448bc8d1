// What `coeus score` reads: lines of tokens or text.
#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <string>
#include <vector>

namespace coeus {

/// One line to score.
struct ScoreLine {
  int64_t number = 0;  ///< in its file, from 1
  std::vector<int32_t> tokens;
  std::vector<int64_t>
      documents;         ///< lengths of the documents packed in it; they sum to its tokens
  bool is_text = false;  ///< whether the tokens are those of a text
};

/// The tokens of a text, with what stands before it.
using EncodeText = std::function<std::vector<int32_t>(const std::string& text)>;

/// Reads lines of JSON: {"tokens": [ids]} or {"text": "…"}, which `encode` makes tokens of, and
/// perhaps "documents": [lengths], without which a line is one document. Blank lines are passed
/// over, and so are members of other names, unless they look like one of these misspelt.
/// Throws DataError that names `name` and the line for one that is not such an object, has tokens
/// and text, an id outside of [0, vocab_size), or documents that do not sum to its tokens; and when
/// there is no line.
std::vector<ScoreLine> read_score_lines(std::istream& in, const std::string& name,
                                        int64_t vocab_size, const EncodeText& encode);

}  // namespace coeus
