#include "coeus/data/images/image_text_line.h"

#include <nlohmann/json.hpp>

#include "coeus/base/error.h"
#include "coeus/data/byte_reader.h"
#include "coeus/data/images/image_token_ids.h"

namespace coeus {

namespace {

using nlohmann::json;

constexpr const char* kExpected =
    "expected one JSON object a line, such as {\"text\": \"A cat: <|image|>\", \"images\": "
    "[\"cat.png\"]}";

/// Builds the document; its complaints say the line.
class LineReader {
 public:
  LineReader(const json& object, const RecordPlace& place, Document& document)
      : object_(object), place_(place), document_(document) {}

  void read() {
    check_one_of("text", "texts");
    check_one_of("image", "images");
    if (object_.contains("texts")) {
      read_lists();
    } else {
      read_text();
    }
  }

 private:
  template <class... Args>
  void check(bool good, fmt::format_string<Args...> format, Args&&... args) const {
    if (good) return;
    throw DataError(fmt::format("[data] {}: {}; {}", line_at(*place_.file, place_.offset),
                                fmt::format(format, std::forward<Args>(args)...), kExpected));
  }

  void check_one_of(const char* a, const char* b) const {
    check(!object_.contains(a) || !object_.contains(b), "both \"{}\" and \"{}\" are given", a, b);
  }

  std::string string_of(const json& value, const char* key) const {
    check(value.is_string(), "{} in \"{}\" where a string belongs", value.type_name(), key);
    auto text = value.get<std::string>();
    check(text.find('\0') == std::string::npos, "\"{}\" holds a NUL character (\\u0000)", key);
    return text;
  }

  void add_image(const json& value, const char* key) {
    const std::string name = string_of(value, key);
    check(!name.empty(), "an empty name in \"{}\"", key);
    check(name.find("://") == std::string::npos,
          "\"{}\" is an address, and nothing is fetched: save the image beside the file", name);
    document_.images.push_back(place_.file->path.parent_path() / name);
  }

  void read_text() {
    check(object_.contains("text"), "no key \"text\"");
    document_.text = string_of(object_["text"], "text");
    if (object_.contains("image")) add_image(object_["image"], "image");
    if (object_.contains("images")) {
      const json& images = object_["images"];
      check(images.is_array(), "\"images\" is of type {}, not a list", images.type_name());
      for (const json& image : images) add_image(image, "images");
    }
    size_t places = 0;
    for (size_t at = 0; (at = document_.text.find(kImageToken, at)) != std::string::npos; ++at) {
      ++places;
    }
    if (places == 0) {
      for (size_t i = 0; i < document_.images.size(); ++i) {
        document_.text.insert(0, kImageToken);
      }
      places = document_.images.size();
    }
    check(places == document_.images.size(), "the text has {} {}, but there are {} images", places,
          kImageToken, document_.images.size());
  }

  void read_lists() {
    const json& texts = object_["texts"];
    const json images = object_.value("images", json());
    check(texts.is_array() && images.is_array() && texts.size() == images.size(),
          "\"texts\" needs a list \"images\" of its length");
    for (size_t i = 0; i < texts.size(); ++i) {
      check(texts[i].is_null() != images[i].is_null(),
            "entry {} of \"texts\" and \"images\": one of the two must be null", i);
      if (texts[i].is_null()) {
        add_image(images[i], "images");
        document_.text += kImageToken;
        continue;
      }
      const std::string text = string_of(texts[i], "texts");
      check(text.find(kImageToken) == std::string::npos,
            "entry {} of \"texts\" holds {}; give the image in \"images\"", i, kImageToken);
      document_.text += text;
    }
  }

  const json& object_;
  const RecordPlace& place_;
  Document& document_;
};

}  // namespace

void read_image_text_line(std::string_view line, const RecordPlace& place, Document& document) {
  const json object = parse_json_line(line, place, kExpected);
  document = {.place = place};
  LineReader(object, place, document).read();
}

}  // namespace coeus
