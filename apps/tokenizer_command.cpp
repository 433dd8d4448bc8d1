// coeus tokenizer train | encode | decode
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "coeus/base/log.h"
#include "coeus/data/tokenizer/bpe_trainer.h"
#include "coeus/data/tokenizer/tokenizer.h"
#include "coeus/data/tokenizer/utf8.h"
#include "commands.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;

struct TrainArguments {
  std::vector<std::string> inputs;
  std::string format = "auto";
  std::string output;
  BpeTrainerOptions options;
};

// The files that the inputs name: a folder stands for the regular files in it, by name, without the
// index files and aliases (.dat, .u8) that lie beside Debian's fortunes.
std::vector<fs::path> list_files(const std::vector<std::string>& inputs) {
  std::vector<fs::path> files;
  for (const auto& input : inputs) {
    COEUS_CHECK_DATA(fs::exists(input), "[tokenizer train] {} does not exist", input);
    if (!fs::is_directory(input)) {
      files.emplace_back(input);
      continue;
    }
    std::vector<fs::path> inside;
    for (const auto& entry : fs::directory_iterator(input)) {
      const auto extension = entry.path().extension();
      if (entry.is_regular_file() && extension != ".dat" && extension != ".u8") {
        inside.push_back(entry.path());
      }
    }
    std::sort(inside.begin(), inside.end());
    files.insert(files.end(), inside.begin(), inside.end());
  }
  COEUS_CHECK_DATA(!files.empty(), "[tokenizer train] the inputs hold no files");
  return files;
}

// Gives the documents of one file after another.
class Documents {
 public:
  Documents(std::vector<fs::path> files, std::string format)
      : files_(std::move(files)), format_(std::move(format)) {}

  bool next(std::string& document) {
    while (true) {
      if (!in_.is_open() && !open_next()) return false;
      if (read(document)) return true;
      COEUS_CHECK_DATA(!in_.bad(), "[tokenizer train] reading {} failed", path_);
      in_.close();
    }
  }

 private:
  bool open_next() {
    if (at_ == files_.size()) return false;
    const fs::path& path = files_[at_++];
    path_ = path.string();
    in_ = std::ifstream(path, std::ios::binary);
    COEUS_CHECK_DATA(in_.good(), "[tokenizer train] cannot open {}: check that it may be read",
                     path_);
    line_number_ = 0;
    const auto extension = path.extension();
    const bool json = extension == ".json" || extension == ".jsonl";
    current_format_ = format_ != "auto" ? format_ : json ? "json" : "text";
    return true;
  }

  bool read(std::string& document) {
    if (current_format_ == "text") {
      document.assign(std::istreambuf_iterator<char>(in_), {});
      return !document.empty();
    }
    return current_format_ == "json" ? read_json(document) : read_fortune(document);
  }

  bool read_json(std::string& document) {
    for (std::string line; std::getline(in_, line);) {
      ++line_number_;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      if (!is_valid_utf8(line)) line = replace_invalid_utf8(line);
      const auto object = nlohmann::json::parse(line, nullptr, false);
      COEUS_CHECK_DATA(object.is_object() && object.contains("text") && object["text"].is_string(),
                       "[tokenizer train] {}:{}: not a JSON object with a string \"text\"", path_,
                       line_number_);
      document = object["text"].get<std::string>();
      return true;
    }
    return false;
  }

  // Documents stand between lines of a single '%'.
  bool read_fortune(std::string& document) {
    document.clear();
    for (std::string line; std::getline(in_, line);) {
      if (line == "%") {
        if (!document.empty()) return true;
        continue;
      }
      document += line;
      document += '\n';
    }
    return !document.empty();
  }

  std::vector<fs::path> files_;
  std::string format_;
  std::string current_format_;
  size_t at_ = 0;
  std::ifstream in_;
  std::string path_;
  int64_t line_number_ = 0;
};

ExitCode train(const TrainArguments& arguments) {
  Documents documents(list_files(arguments.inputs), arguments.format);
  const auto start = std::chrono::steady_clock::now();
  const auto trained =
      train_bpe([&](std::string& document) { return documents.next(document); }, arguments.options);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  write_tokenizer(trained, arguments.output);
  log_info("trained {} tokens on {} documents ({} bytes, {} distinct words) in {:.1f} s",
           trained.vocab_size, trained.documents, trained.bytes, trained.distinct_words,
           seconds.count());
  if (trained.vocab_size < arguments.options.vocab_size) {
    log_warning("the text has no more pairs to merge: {} tokens instead of {}", trained.vocab_size,
                arguments.options.vocab_size);
  }
  log_info("wrote {}/tokenizer.json and tokenizer_config.json", arguments.output);
  return ExitCode::kDone;
}

// Calls handle(value) for the JSON value on each line of standard input; an empty line has none.
template <class Handle>
void for_each_json_line(Handle&& handle) {
  std::ios::sync_with_stdio(false);
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (!is_valid_utf8(line)) line = replace_invalid_utf8(line);
    try {
      handle(nlohmann::json::parse(line));
    } catch (const nlohmann::json::exception& error) {
      throw DataError(fmt::format("[tokenizer] line {} of the input: {}", number, error.what()));
    } catch (const DataError& error) {
      throw DataError(fmt::format("[tokenizer] line {} of the input: {}", number, error.what()));
    }
    COEUS_CHECK(std::cout.good(), "[tokenizer] cannot write to standard output");
  }
  std::cout.flush();
  COEUS_CHECK(std::cout.good(), "[tokenizer] cannot write to standard output");
}

ExitCode encode(const std::string& folder) {
  const auto tokenizer = Tokenizer::from_folder(folder);
  for_each_json_line([&](const nlohmann::json& value) {
    COEUS_CHECK_DATA(value.is_string(), "expected a JSON string, got {}", value.type_name());
    std::cout << '[';
    const char* separator = "";
    for (const int32_t id : tokenizer.encode(value.get_ref<const std::string&>())) {
      std::cout << separator << id;
      separator = ", ";
    }
    std::cout << "]\n";
  });
  return ExitCode::kDone;
}

ExitCode decode(const std::string& folder, bool keep_special_tokens) {
  const auto tokenizer = Tokenizer::from_folder(folder);
  for_each_json_line([&](const nlohmann::json& value) {
    COEUS_CHECK_DATA(value.is_array(), "expected a JSON array of token ids, got {}",
                     value.type_name());
    std::vector<int32_t> ids;
    for (const auto& element : value) {
      const bool known = element.is_number_integer() && element >= 0 &&
                         element <= tokenizer.largest_id() &&
                         tokenizer.id_to_token(element.get<int32_t>()).has_value();
      COEUS_CHECK_DATA(known, "{} is not the id of a token (the largest is {})", element.dump(),
                       tokenizer.largest_id());
      ids.push_back(element.get<int32_t>());
    }
    // In ASCII: some characters that JSON allows in a string end a line for other readers.
    const nlohmann::json text = tokenizer.decode(ids, !keep_special_tokens);
    std::cout << text.dump(-1, ' ', true) << '\n';
  });
  return ExitCode::kDone;
}

void add_train(CLI::App& tokenizer, Command& chosen) {
  auto arguments = std::make_shared<TrainArguments>();
  auto* app = tokenizer.add_subcommand("train",
                                       "Trains a byte-level BPE tokenizer and writes "
                                       "tokenizer.json and tokenizer_config.json, which "
                                       "the Hugging Face library reads too.\n"
                                       "Examples:\n"
                                       "  coeus tokenizer train --input /usr/share/games/fortunes "
                                       "--format fortunes --vocab-size 2048 "
                                       "--output my_tokenizer\n"
                                       "  coeus tokenizer train --input a.jsonl b.jsonl "
                                       "--vocab-size 32000 --kind gpt2 --output out");
  auto& options = arguments->options;
  app->add_option("--input", arguments->inputs, "Files, or folders of files")->required();
  app->add_option("--format", arguments->format,
                  "text: a file is a document; json: a line is {\"text\": …}; fortunes: documents "
                  "between lines of %; auto: json for .json and .jsonl, else text")
      ->check(CLI::IsMember({"auto", "text", "json", "fortunes"}))
      ->capture_default_str();
  app->add_option("--vocab-size", options.vocab_size, "Tokens in all, special ones included")
      ->capture_default_str();
  app->add_option("--output", arguments->output, "The folder to write to")->required();
  app->add_option("--kind", options.kind, "Whose pre-tokenizer to use")
      ->check(CLI::IsMember(tokenizer_kinds()))
      ->capture_default_str();
  app->add_option("--special", options.special_tokens,
                  "Further special tokens, placed before BOS and EOS");
  app->add_option("--bos", options.bos_token, "The token that starts a document")
      ->capture_default_str();
  app->add_option("--eos", options.eos_token, "The token that ends a document")
      ->capture_default_str();
  app->callback([arguments, &chosen] { chosen = [arguments] { return train(*arguments); }; });
}

}  // namespace

void add_tokenizer_command(CLI::App& program, Command& chosen) {
  auto* app = program.add_subcommand("tokenizer", "Trains tokenizers, encodes and decodes text");
  app->require_subcommand(1);
  add_train(*app, chosen);

  auto folder = std::make_shared<std::string>();
  auto* encode_app = app->add_subcommand(
      "encode",
      "Reads JSON strings from standard input, one a line, and prints the ids of each as a JSON "
      "array, with what the file's post-processor adds and nothing else.\n"
      "Example:\n"
      "  echo '\"Hello world\"' | coeus tokenizer encode my_tokenizer");
  encode_app->add_option("folder", *folder, "The folder that holds tokenizer.json")->required();
  encode_app->callback([folder, &chosen] { chosen = [folder] { return encode(*folder); }; });

  auto keep = std::make_shared<bool>(false);
  auto* decode_app = app->add_subcommand(
      "decode",
      "Reads JSON arrays of ids from standard input, one a line, and prints the text of each as a "
      "JSON string.\n"
      "Example:\n"
      "  echo '[39, 68]' | coeus tokenizer decode my_tokenizer");
  decode_app->add_option("folder", *folder, "The folder that holds tokenizer.json")->required();
  decode_app->add_flag("--keep-special-tokens", *keep, "Print special tokens too");
  decode_app->callback(
      [folder, keep, &chosen] { chosen = [folder, keep] { return decode(*folder, *keep); }; });
}

}  // namespace coeus
