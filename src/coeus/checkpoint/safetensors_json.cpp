#include "coeus/checkpoint/safetensors_json.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <set>

namespace coeus {

namespace {

// A SAX reader, because a document tree forgets the first of two equal keys and costs many times
// the header's bytes.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool start_object(std::size_t) override {
    if (place_ == Place::kBeforeRoot) {
      place_ = Place::kRoot;
    } else if (place_ == Place::kRoot) {
      place_ = in_metadata_ ? Place::kMetadata : Place::kTensor;
      seen_fields_.clear();
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kRoot) {
      place_ = Place::kAfterRoot;
      return true;
    }
    if (place_ == Place::kTensor) {
      for (const char* field : {"dtype", "shape", "data_offsets"}) {
        if (!seen_fields_.count(field)) refuse("{} has no {}", subject(), field);
      }
      header_.tensors.push_back(std::move(tensor_));
    }
    place_ = Place::kRoot;
    return true;
  }

  bool key(string_t& name) override {
    if (place_ == Place::kRoot) {
      if (!seen_names_.insert(name).second) refuse("tensor '{}' is listed twice", name);
      in_metadata_ = name == "__metadata__";
      tensor_ = {};
      tensor_.name = name;
    } else {
      bool known = in_metadata_ || name == "dtype" || name == "shape" || name == "data_offsets";
      if (!known) refuse("{} has an unknown field '{}'", subject(), name);
      if (!seen_fields_.insert(name).second) refuse("{} has {} twice", subject(), name);
      field_ = name;
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::kTensor || field_ == "dtype") unexpected("an array");
    place_ = Place::kNumbers;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    if (field_ == "shape") {
      for (uint64_t size : numbers_) {
        if (size > std::numeric_limits<int64_t>::max()) {
          refuse("{} has a dimension of {}, out of range", subject(), size);
        }
        tensor_.shape.push_back(static_cast<int64_t>(size));
      }
    } else {
      if (numbers_.size() != 2) {
        refuse("{} has {} data_offsets, not two", subject(), numbers_.size());
      }
      tensor_.begin = numbers_[0];
      tensor_.end = numbers_[1];
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kNumbers) unexpected("a number");
    numbers_.push_back(value);
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::kMetadata) {
      header_.metadata[field_] = text;
    } else if (place_ == Place::kTensor && field_ == "dtype") {
      auto type = stored_type_named(text);
      if (!type) refuse("{} has dtype '{}', which coeus does not read", subject(), text);
      tensor_.type = *type;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t& text) override {
    refuse("{} holds the number {}, which is no whole number of 64 bits", subject(), text);
  }
  bool binary(binary_t&) override { unexpected("binary data"); }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    refuse("the header is no JSON at byte {} of the file; it is damaged or no safetensors file",
           8 + (position > 0 ? position - 1 : 0));
  }

 private:
  enum class Place { kBeforeRoot, kRoot, kMetadata, kTensor, kNumbers, kAfterRoot };

  std::string subject() const {
    if (place_ == Place::kBeforeRoot || place_ == Place::kAfterRoot) return "the header";
    return in_metadata_ ? "__metadata__" : fmt::format("tensor '{}'", tensor_.name);
  }

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    throw CheckpointError(fmt::format("[safetensors] {}: {}", file_,
                                      fmt::format(format, std::forward<Args>(args)...)));
  }
  [[noreturn]] void unexpected(const char* what) const {
    bool in_field = place_ == Place::kTensor || place_ == Place::kNumbers;
    refuse("{} holds {} where none may stand{}{}", subject(), what, in_field ? ", in " : "",
           in_field ? field_ : "");
  }

  const std::string& file_;
  SafetensorsHeader header_;
  Place place_ = Place::kBeforeRoot;
  bool in_metadata_ = false;
  SafetensorsEntry tensor_;
  std::string field_;
  std::vector<uint64_t> numbers_;
  std::set<std::string> seen_names_;
  std::set<std::string> seen_fields_;
};

}  // namespace

SafetensorsHeader parse_safetensors_json(std::string_view text, const std::string& file) {
  COEUS_CHECK_AS(
      CheckpointError, text.starts_with('{'),
      "[safetensors] {}: the header does not begin with '{{'; this is no safetensors file", file);
  HeaderReader reader(file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  return reader.take();
}

}  // namespace coeus
