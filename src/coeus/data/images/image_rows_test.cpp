#include "coeus/data/images/image_rows.h"

#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>

#include <map>
#include <random>
#include <sstream>

#include "coeus/base/error.h"
#include "coeus/base/ignored_label.h"
#include "coeus/base/log.h"
#include "coeus/data/images/image_file.h"
#include "coeus/data/images/patchify.h"
#include "coeus/data/images/resize_image.h"
#include "coeus/data/loader.h"
#include "coeus/data/test_folder.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr ImageTokenIds kIds{.image = 258, .begin = 259, .end = 260, .pad = 261};
constexpr int64_t kVocabSize = 262;
constexpr int64_t kPatchSize = 4;

/// byte_encoder that knows <|image|>.
TextEncoder image_encoder() {
  TextEncoder encoder = byte_encoder();
  encoder.encode = [](std::string_view text, std::vector<int32_t>& tokens) {
    while (!text.empty()) {
      const bool image = text.starts_with(kImageToken);
      tokens.push_back(image ? kIds.image : static_cast<unsigned char>(text[0]));
      text.remove_prefix(image ? kImageToken.size() : 1);
    }
  };
  return encoder;
}

/// A sample as it should come out.
struct Expected {
  std::vector<int32_t> tokens;
  std::vector<ImageGrid> grids;
  std::vector<float> values;
};

class ImageRowsTest : public testing::Test {
 protected:
  /// Writes `count` lines of text, each with up to `most_images` images of many sizes.
  void write_data(int count, int most_images, unsigned seed = 1) {
    std::mt19937 random(seed);
    const auto draw = [&](int most) { return static_cast<int>(random() % (most + 1)); };
    std::string lines;
    int files = 0;
    for (int i = 0; i < count; ++i) {
      nlohmann::json line{{"text", fmt::format("{} ", i)}};
      Expected sample{.tokens = {kTestBos}};
      const auto add_text = [&](const std::string& text) {
        line["text"] = line["text"].get<std::string>() + text;
        sample.tokens.insert(sample.tokens.end(), text.begin(), text.end());
      };
      for (const char c : line["text"].get<std::string>()) sample.tokens.push_back(c);
      for (int images = draw(most_images); images > 0; --images) {
        add_text(std::string(static_cast<size_t>(draw(5)), 'x'));
        Image image = Image::of({1 + draw(22), 1 + draw(22)});
        for (auto& value : image.pixels) value = static_cast<uint8_t>(random());
        const std::string name = fmt::format("{}.png", files++);
        folder_.write_raw("data/" + name, encode_png(image));
        line["images"].push_back(name);
        line["text"] = line["text"].get<std::string>() + std::string(kImageToken);
        const ImageSize size = fit_image(image.size, kPatchSize, kMaxPatches);
        sample.grids.push_back(
            append_patches(resize_image(image, size), kPatchSize, sample.values));
        sample.tokens.push_back(kIds.begin);
        sample.tokens.insert(sample.tokens.end(),
                             static_cast<size_t>(sample.grids.back().patches()), kIds.image);
        sample.tokens.push_back(kIds.end);
      }
      add_text(std::string(static_cast<size_t>(draw(12)), 'y'));
      sample.tokens.push_back(kTestEos);
      lines += line.dump() + "\n";
      samples_.push_back(std::move(sample));
    }
    folder_.write("data/lines.jsonl", lines);
  }

  std::unique_ptr<Dataset> data(bool shuffle = false) const {
    return make_dataset(
        {.name = "image_text", .path = folder_.path() / "data", .shuffle = shuffle, .seed = 3});
  }

  static LoaderOptions options(int64_t packing_buffer_size) {
    return {.seq_len = 80,
            .local_batch_size = 2,
            .vocab_size = kVocabSize,
            .positions = Positions::kDocument,
            .infinite = false,
            .images = ImageRowOptions{.patch_size = kPatchSize,
                                      .max_patches_per_image = kMaxPatches,
                                      .max_images_per_row = 4,
                                      .packing_buffer_size = packing_buffer_size,
                                      .tokens = kIds}};
  }

  std::string complaint(const LoaderOptions& options) const {
    return message_of<DataError>([&] {
      Loader loader(data(), image_encoder(), options);
      while (loader.next()) continue;
    });
  }

  static constexpr int64_t kMaxPatches = 12;
  TestFolder folder_;
  std::vector<Expected> samples_;
};

/// The documents of a row: their tokens, by the layout.
std::vector<std::vector<int32_t>> documents_of(const Batch& batch, int64_t row) {
  std::vector<std::vector<int32_t>> documents;
  const TokenAttributes& attributes = *batch.layouts[static_cast<size_t>(row)].query();
  for (int64_t i = 0; i < batch.seq_len; ++i) {
    const auto at = static_cast<size_t>(i);
    const auto in_batch = static_cast<size_t>(row * batch.seq_len + i);
    EXPECT_EQ(attributes.index[at], i);
    if (attributes.offset[at] == 0) documents.emplace_back();
    EXPECT_EQ(attributes.document[at], static_cast<int32_t>(documents.size()) - 1);
    EXPECT_EQ(attributes.offset[at], static_cast<int32_t>(documents.back().size()));
    EXPECT_EQ(batch.positions[in_batch], attributes.offset[at]);
    documents.back().push_back(batch.tokens[in_batch]);
  }
  return documents;
}

void expect_right_labels(const Batch& batch) {
  int64_t valid = 0;
  for (int64_t i = 0; i < batch.batch_size * batch.seq_len; ++i) {
    const bool at_end = (i + 1) % batch.seq_len == 0;
    const int32_t next = at_end ? kIds.pad : batch.tokens[static_cast<size_t>(i + 1)];
    const bool is_text = next < 258;
    EXPECT_EQ(batch.labels[static_cast<size_t>(i)], is_text ? next : kIgnoredLabel) << i;
    valid += is_text ? 1 : 0;
  }
  EXPECT_EQ(batch.valid_labels, valid);
}

/// Takes the batch's images off `grids` and `values`.
void expect_images(const Batch& batch, const std::vector<const Expected*>& samples) {
  std::vector<ImageGrid> grids;
  std::vector<float> values;
  for (const Expected* sample : samples) {
    grids.insert(grids.end(), sample->grids.begin(), sample->grids.end());
    values.insert(values.end(), sample->values.begin(), sample->values.end());
  }
  EXPECT_EQ(batch.images.grids, grids);
  EXPECT_EQ(batch.images.values, values);
  EXPECT_EQ(batch.images.patch_dim, grids.empty() ? 0 : kPatchSize * kPatchSize * 3);
  int64_t patches = 0;
  for (const ImageGrid& grid : grids) patches += grid.patches();
  ASSERT_EQ(batch.images.patches(), patches);
  EXPECT_EQ(patches, std::ranges::count(batch.tokens, kIds.image));
  const TokenAttributes& attributes = *batch.images.layout.query();
  size_t at = 0;
  for (size_t image = 0; image < grids.size(); ++image) {
    for (int64_t offset = 0; offset < grids[image].patches(); ++offset, ++at) {
      ASSERT_EQ(attributes.index[at], static_cast<int32_t>(at));
      ASSERT_EQ(attributes.document[at], static_cast<int32_t>(image));
      ASSERT_EQ(attributes.offset[at], offset);
    }
  }
}

TEST_F(ImageRowsTest, HoldEverySampleWholeWithItsImages) {
  write_data(60, 3);
  for (const int64_t buffer : {0, 1, 2, 9, 100}) {
    for (const bool shuffle : {false, true}) {
      SCOPED_TRACE(fmt::format("buffer of {}, shuffle {}", buffer, shuffle));
      std::map<std::vector<int32_t>, int> seen;
      std::vector<size_t> order;
      Loader loader(data(shuffle), image_encoder(), options(buffer));
      size_t rows = 0;
      while (auto batch = loader.next()) {
        EXPECT_EQ(batch->images.token, kIds.image);
        std::vector<const Expected*> in_batch;
        for (int64_t row = 0; row < 2; ++row) {
          size_t in_row = 0;
          int64_t images = 0;
          for (const auto& document : documents_of(*batch, row)) {
            if (document[0] == kIds.pad) {
              EXPECT_THAT(document, Each(kIds.pad));
              continue;
            }
            const auto found = std::ranges::find(samples_, document, &Expected::tokens);
            ASSERT_NE(found, samples_.end());
            ++seen[document];
            order.push_back(static_cast<size_t>(found - samples_.begin()));
            in_batch.push_back(&*found);
            images += static_cast<int64_t>(found->grids.size());
            ++in_row;
          }
          EXPECT_LE(images, 4);
          if (buffer == 0) {
            EXPECT_LE(in_row, 1u);
          }
          rows += in_row > 0 ? 1 : 0;
        }
        expect_images(*batch, in_batch);
        expect_right_labels(*batch);
      }
      int64_t fitting = 0;
      for (const auto& sample : samples_) {
        if (sample.tokens.size() > 80) continue;
        ++fitting;
        EXPECT_EQ(seen[sample.tokens], 1);
      }
      EXPECT_GT(fitting, 40);
      EXPECT_EQ(order.size(), static_cast<size_t>(fitting));
      if (buffer == 0) {
        EXPECT_EQ(rows, order.size());
      }
      if (buffer > 0) {
        EXPECT_LT(rows, order.size());
      }
      if (buffer <= 1 && !shuffle) {
        EXPECT_TRUE(std::ranges::is_sorted(order));
      }
    }
  }
}

void expect_same(const std::optional<Batch>& a, const std::optional<Batch>& b) {
  ASSERT_EQ(a.has_value(), b.has_value());
  if (!a) return;
  EXPECT_EQ(a->tokens, b->tokens);
  EXPECT_EQ(a->labels, b->labels);
  EXPECT_EQ(a->positions, b->positions);
  EXPECT_EQ(a->images.values, b->images.values);
  EXPECT_EQ(a->images.grids, b->images.grids);
  EXPECT_EQ(a->state_after, b->state_after);
}

TEST_F(ImageRowsTest, GoOnFromEveryPointAsIfNothingHadHappened) {
  write_data(23, 2);
  for (const int64_t buffer : {0, 1, 7}) {
    for (const bool shuffle : {false, true}) {
      for (const bool infinite : {false, true}) {
        SCOPED_TRACE(fmt::format("buffer {}, shuffle {}, infinite {}", buffer, shuffle, infinite));
        auto how = options(buffer);
        how.infinite = infinite;
        std::vector<std::string> states;
        std::vector<std::optional<Batch>> batches;
        Loader whole(data(shuffle), image_encoder(), how);
        for (int i = 0; i < 30; ++i) {
          states.push_back(whole.state().dump());
          batches.push_back(whole.next());
        }
        for (size_t from = 0; from < states.size(); from += 3) {
          SCOPED_TRACE(from);
          Loader resumed(data(shuffle), image_encoder(), how);
          if (from % 2 == 1) resumed.next();
          resumed.load_state(nlohmann::json::parse(states[from]));
          for (size_t i = from; i < std::min(from + 3, batches.size()); ++i) {
            expect_same(resumed.next(), batches[i]);
          }
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST_F(ImageRowsTest, AreTheSameForAnyNumberOfRanks) {
  write_data(40, 2);
  auto how = options(5);
  Loader one(data(), image_encoder(), how);
  how.local_batch_size = 1;
  how.dp_world = 2;
  Loader first(data(), image_encoder(), how);
  how.dp_rank = 1;
  Loader second(data(), image_encoder(), how);
  int batches = 0;
  while (auto batch = one.next()) {
    ++batches;
    auto a = first.next();
    auto b = second.next();
    ASSERT_TRUE(a && b);
    a->tokens.insert(a->tokens.end(), b->tokens.begin(), b->tokens.end());
    EXPECT_EQ(a->tokens, batch->tokens);
    a->images.values.insert(a->images.values.end(), b->images.values.begin(),
                            b->images.values.end());
    EXPECT_EQ(a->images.values, batch->images.values);
    EXPECT_EQ(a->state_after, batch->state_after);
  }
  EXPECT_GT(batches, 5);
  EXPECT_FALSE(first.next() || second.next());
}

TEST_F(ImageRowsTest, LowerTheMasksOfTheirImages) {
  write_data(4, 2);
  int64_t patches = -1;
  Loader loader(data(), image_encoder(), options(4), [&](std::span<Batch> step) {
    patches = step[0].images.layout.query_length();
    EXPECT_EQ(step[0].layouts.size(), 2u);
  });
  const auto batch = loader.next();
  EXPECT_EQ(patches, batch->images.patches());
  EXPECT_GT(patches, 0);
}

TEST_F(ImageRowsTest, TakePlainTextsAmongThem) {
  write_data(8, 1);
  folder_.write("text.json", json_lines({"plain"}));
  auto how = options(4);
  how.infinite = true;
  Loader loader(make_dataset({.mixture = {{"image_text", folder_.path() / "data", 1},
                                          {"json", folder_.path() / "text.json", 1}}}),
                image_encoder(), how);
  int plain = 0;
  int images = 0;
  for (int i = 0; i < 6; ++i) {
    const auto batch = loader.next();
    for (const auto& document : documents_of(*batch, 0)) {
      plain += document == std::vector<int32_t>{kTestBos, 'p', 'l', 'a', 'i', 'n', kTestEos};
    }
    images += static_cast<int>(batch->images.grids.size());
  }
  EXPECT_GT(plain, 0);
  EXPECT_GT(images, 0);
}

/// The log's lines while it lives.
class LogLines {
 public:
  LogLines() { spdlog::default_logger()->sinks().push_back(sink_); }
  ~LogLines() { spdlog::default_logger()->sinks().pop_back(); }
  std::string text() {
    spdlog::default_logger()->flush();
    return stream_.str();
  }

 private:
  std::ostringstream stream_;
  spdlog::sink_ptr sink_ = std::make_shared<spdlog::sinks::ostream_sink_mt>(stream_);
};

TEST_F(ImageRowsTest, LeaveOutSamplesThatFitNoRowAndCountThem) {
  folder_.write_raw("data/a.png", encode_png(Image::of({8, 8})));
  std::string lines;
  for (int i = 0; i < 10; ++i) {
    lines += nlohmann::json{{"text", std::string(79, 'z')}}.dump() + "\n";
  }
  lines += R"({"text": "many", "images": ["a.png", "a.png", "a.png", "a.png", "a.png"]})"
           "\n";
  lines += R"({"text": "fits", "images": ["a.png"]})";
  folder_.write("data/lines.jsonl", lines);
  LogLines log;
  Loader loader(data(), image_encoder(), options(1));
  EXPECT_THAT(documents_of(*loader.next(), 0)[0],
              ElementsAre(kTestBos, 259, 258, 258, 258, 258, 260, 'f', 'i', 't', 's', kTestEos));
  EXPECT_FALSE(loader.next());
  EXPECT_THAT(log.text(),
              AllOf(HasSubstr("lines.jsonl:1, which has 81 tokens, more than seq_len "
                              "80; 1 such so far"),
                    HasSubstr("lines.jsonl:10, which has 81 tokens"), HasSubstr("10 such so far"),
                    HasSubstr("lines.jsonl:11, which has 5 images, where a row takes 4"),
                    HasSubstr("11 samples left out so far")));
}

TEST_F(ImageRowsTest, EndWithAnErrorWhenNothingFits) {
  folder_.write("data/lines.jsonl", nlohmann::json{{"text", std::string(90, 'z')}}.dump());
  for (const bool infinite : {false, true}) {
    auto how = options(1);
    how.infinite = infinite;
    EXPECT_THAT(complaint(how), HasSubstr("has no sample that fits a row: 1 are longer than "
                                          "seq_len 80"));
  }
}

TEST_F(ImageRowsTest, NameTheLineAndTheFileOfABadImage) {
  folder_.write_raw("data/good.png", encode_png(Image::of({8, 8})));
  const auto lines_with = [&](const std::string& name) {
    folder_.write("data/lines.jsonl", R"({"text": "a", "image": "good.png"})"
                                      "\n"
                                      R"({"text": "a", "image": ")" +
                                          name + "\"}\n");
  };
  lines_with("missing.png");
  EXPECT_THAT(complaint(options(1)), AllOf(HasSubstr("lines.jsonl:2: "),
                                           HasSubstr("data/missing.png: there is no such file")));
  const std::string whole = encode_png(Image::of({300, 200}));
  folder_.write_raw("data/cut.png", whole.substr(0, whole.size() - 30));
  lines_with("cut.png");
  EXPECT_THAT(complaint(options(1)), AllOf(HasSubstr("lines.jsonl:2: "),
                                           HasSubstr("data/cut.png: the PNG file is truncated")));
  folder_.write_raw("data/strip.png", encode_png(Image::of({1000, 2})));
  lines_with("strip.png");
  EXPECT_THAT(complaint(options(1)), AllOf(HasSubstr("lines.jsonl:2: "),
                                           HasSubstr("data/strip.png: it has 1000 x 2 pixels")));
}

TEST_F(ImageRowsTest, RefuseAnImagesPlaceInATextWithoutImages) {
  folder_.write("text.json", json_lines({"a <|image|>"}));
  const std::string message = message_of<DataError>([&] {
    Loader(make_dataset({.name = "json", .path = folder_.path() / "text.json"}), image_encoder(),
           options(1))
        .next();
  });
  EXPECT_THAT(message,
              AllOf(HasSubstr("text.json:1: "),
                    HasSubstr("the text has 1 <|image|> where images go, but there are 0")));
}

TEST_F(ImageRowsTest, RefuseAStateOfOtherPatches) {
  write_data(5, 1);
  auto how = options(1);
  Loader loader(data(), image_encoder(), how);
  loader.next();
  const auto state = loader.state();
  how.images->patch_size = 8;
  Loader other(data(), image_encoder(), how);
  EXPECT_THAT(message_of<ConfigError>([&] { other.load_state(state); }),
              HasSubstr("patch_size was 4, is 8"));
  how.images.reset();
  EXPECT_THROW(Loader(data(), image_encoder(), how), ConfigError);
  auto broken = state;
  broken["stream"]["waiting"] = {7, -1};
  EXPECT_THROW(loader.load_state(broken), CheckpointError);
  broken["stream"].erase("waiting");
  EXPECT_THROW(loader.load_state(broken), CheckpointError);
}

TEST_F(ImageRowsTest, RefuseOptionsOutOfRange) {
  write_data(3, 1);
  const auto refusal = [&](auto&& change) {
    auto how = options(1);
    change(how);
    return message_of<ConfigError>([&] { Loader(data(), image_encoder(), how); });
  };
  EXPECT_THAT(refusal([](auto& o) { o.images->patch_size = 0; }), HasSubstr("patch_size"));
  EXPECT_THAT(refusal([](auto& o) { o.images->max_images_per_row = 0; }), HasSubstr("a row"));
  auto how = options(1);
  how.vocab_size = 260;
  EXPECT_THAT(message_of<DataError>([&] { Loader(data(), image_encoder(), how); }),
              HasSubstr("go up to 261, but the model's vocab_size is 260"));
}

}  // namespace
}  // namespace coeus
