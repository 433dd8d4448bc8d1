// coeus tokenizer train | encode | decode
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "coeus/base/log.h"
#include "coeus/data/dataset.h"
#include "coeus/data/images/image_token_ids.h"
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
  bool image_tokens = false;
  BpeTrainerOptions options;
};

bool is_json(const fs::path& path) {
  fs::path name = path.filename();
  if (name.extension() == ".gz" || name.extension() == ".zst") name.replace_extension();
  return name.extension() == ".json" || name.extension() == ".jsonl";
}

// Under auto, a folder is one of JSON lines when it holds such a file.
std::string format_of(const fs::path& input, const std::string& asked_for) {
  if (asked_for != "auto") return asked_for;
  bool json = is_json(input);
  if (fs::is_directory(input)) {
    for (const auto& entry : fs::directory_iterator(input)) json = json || is_json(entry.path());
  }
  return json ? "json" : "text";
}

// The documents of one input after another, read as training reads them.
class Documents {
 public:
  explicit Documents(const TrainArguments& arguments) {
    // All are opened first: what is not there is found before the work.
    for (const auto& input : arguments.inputs) {
      COEUS_CHECK_DATA(fs::exists(input), "[tokenizer train] {} does not exist", input);
      datasets_.push_back(
          make_dataset({.name = format_of(input, arguments.format), .path = input}));
    }
  }

  // A long document comes in parts, which have the words of the whole.
  bool next(std::string& text) {
    for (; at_ < datasets_.size(); ++at_) {
      Document document;
      if (!datasets_[at_]->next(document)) continue;
      if (document.begins) ++count_;
      text = std::move(document.text);
      return true;
    }
    return false;
  }

  int64_t count() const { return count_; }

 private:
  std::vector<std::unique_ptr<Dataset>> datasets_;
  size_t at_ = 0;
  int64_t count_ = 0;
};

ExitCode train(TrainArguments arguments) {
  if (arguments.image_tokens) {
    for (auto name : {kImageToken, kBeginOfImageToken, kEndOfImageToken, kPadToken}) {
      arguments.options.special_tokens.emplace_back(name);
    }
  }
  Documents documents(arguments);
  const auto start = std::chrono::steady_clock::now();
  const auto trained =
      train_bpe([&](std::string& text) { return documents.next(text); }, arguments.options);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  write_tokenizer(trained, arguments.output);
  log_info("trained {} tokens on {} documents ({} bytes, {} distinct words) in {:.1f} s",
           trained.vocab_size, documents.count(), trained.bytes, trained.distinct_words,
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
                  "As training.dataset has them. text: a file is a document; json: a line is "
                  "{\"text\": …}; fortunes: documents between lines of %; auto: json for .json and "
                  ".jsonl files (also .gz, .zst) and folders that hold such, else text")
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
  app->add_flag("--image-tokens", arguments->image_tokens,
                "Further the special tokens that training on images needs: <|image|>, "
                "<|begin_of_image|>, <|end_of_image|> and <|pad|>");
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
