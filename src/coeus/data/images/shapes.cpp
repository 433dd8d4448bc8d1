#include "coeus/data/images/shapes.h"

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"
#include "coeus/base/random.h"
#include "coeus/data/images/image_file.h"
#include "coeus/data/images/image_token_ids.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kShortestSide = 40;
constexpr int64_t kLongestSide = 112;
constexpr int kJpegQuality = 90;

struct Colour {
  const char* name;
  std::array<uint8_t, 3> rgb;
};
constexpr std::array<Colour, 6> kColours = {{{"red", {214, 40, 40}},
                                             {"green", {42, 157, 63}},
                                             {"blue", {38, 84, 214}},
                                             {"yellow", {240, 200, 20}},
                                             {"purple", {130, 50, 170}},
                                             {"black", {20, 20, 20}}}};
constexpr std::array<const char*, 4> kShapes = {"circle", "square", "triangle", "cross"};
constexpr std::array<std::array<uint8_t, 3>, 3> kGrounds = {
    {{255, 255, 255}, {225, 225, 225}, {245, 235, 215}}};

/// Draws one after another.
class Dice {
 public:
  Dice(uint64_t seed, int64_t number)
      : random_(seed + static_cast<uint64_t>(number) * kGoldenGamma, "shapes") {}
  /// From 0 to sides - 1.
  size_t roll(size_t sides) { return static_cast<size_t>(random_.bits(next_++) % sides); }

 private:
  CounterRandom random_;
  uint64_t next_ = 0;
};

/// Whether the point, from -1 to 1 on both axes, y downwards, lies in the shape.
bool covers(size_t shape, double x, double y) {
  switch (shape) {
    case 0:
      return x * x + y * y <= 1;
    case 1:
      return std::abs(x) <= 0.85 && std::abs(y) <= 0.85;
    case 2:
      return y <= 0.9 && 2 * std::abs(x) <= y + 1;
    default:
      return std::min(std::abs(x), std::abs(y)) <= 0.3;
  }
}

/// A part of a picture.
struct Box {
  int64_t left, top, width, height;
};

void draw(Image& image, const Box& box, size_t shape, const Colour& colour, Dice& dice) {
  const int64_t room = std::min(box.width, box.height);
  const int64_t size =
      room * 6 / 10 + static_cast<int64_t>(dice.roll(static_cast<size_t>(room * 3 / 10 + 1)));
  const int64_t left =
      box.left + static_cast<int64_t>(dice.roll(static_cast<size_t>(box.width - size + 1)));
  const int64_t top =
      box.top + static_cast<int64_t>(dice.roll(static_cast<size_t>(box.height - size + 1)));
  const auto coordinate = [&](int64_t i) {
    return (static_cast<double>(2 * i + 1) / static_cast<double>(size)) - 1;
  };
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      if (!covers(shape, coordinate(x), coordinate(y))) continue;
      std::copy(colour.rgb.begin(), colour.rgb.end(), image.pixel(left + x, top + y));
    }
  }
}

void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  COEUS_CHECK(!file.fail(), "[dataset shapes] cannot write {}: is the disk full?", path.string());
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  COEUS_CHECK(!fs::exists(folder) || fs::is_empty(folder, error),
              "[dataset shapes] {} is there already and not empty; name another folder",
              folder.string());
  fs::create_directories(folder / "images", error);
  COEUS_CHECK(!error, "[dataset shapes] cannot make the folder {}: {}", folder.string(),
              error.message());
}

}  // namespace

CaptionedImage draw_shapes(uint64_t seed, int64_t number) {
  Dice dice(seed, number);
  const auto side = [&] {
    return kShortestSide + static_cast<int64_t>(dice.roll(kLongestSide - kShortestSide + 1));
  };
  Image image = Image::of({side(), side()});
  const auto& ground = kGrounds[dice.roll(kGrounds.size())];
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = ground[i % 3];

  const size_t first_shape = dice.roll(kShapes.size());
  const size_t first_colour = dice.roll(kColours.size());
  const Box all{0, 0, image.size.width, image.size.height};
  std::string caption = fmt::format("a {} {}", kColours[first_colour].name, kShapes[first_shape]);
  if (dice.roll(2) == 0) {
    draw(image, all, first_shape, kColours[first_colour], dice);
    return {std::move(image), std::move(caption)};
  }

  const size_t second_shape = dice.roll(kShapes.size());
  const size_t second_colour = dice.roll(kColours.size());
  // Cut across the longer side, so that both shapes get room.
  const bool beside = all.width >= all.height;
  Box first = all;
  Box second = all;
  if (beside) {
    first.width = second.left = all.width / 2;
    second.width = all.width - first.width;
  } else {
    first.height = second.top = all.height / 2;
    second.height = all.height - first.height;
  }
  draw(image, first, first_shape, kColours[first_colour], dice);
  draw(image, second, second_shape, kColours[second_colour], dice);
  caption += fmt::format(" {} a {} {}", beside ? "left of" : "above", kColours[second_colour].name,
                         kShapes[second_shape]);
  return {std::move(image), std::move(caption)};
}

void write_shapes(const fs::path& folder, int64_t count, uint64_t seed) {
  COEUS_CHECK_CONFIG(count >= 1, "[dataset shapes] needs at least one sample, got {}", count);
  make_folder(folder);
  int64_t drawn = 0;
  const auto add_image = [&](nlohmann::json& sample) {
    const CaptionedImage picture = draw_shapes(seed, drawn);
    const bool png = drawn % 2 == 0;
    const std::string name = fmt::format("images/{:06}.{}", drawn++, png ? "png" : "jpg");
    write_file(folder / name,
               png ? encode_png(picture.image) : encode_jpeg(picture.image, kJpegQuality));
    sample["images"].push_back(name);
    return picture.caption;
  };
  std::string lines;
  for (int64_t i = 0; i < count; ++i) {
    nlohmann::json sample;
    if (i % 8 == 7) {
      std::string text = fmt::format("first {} {}", kImageToken, add_image(sample));
      text += fmt::format(", then {} {}", kImageToken, add_image(sample));
      sample["text"] = std::move(text);
    } else {
      sample["text"] = add_image(sample);
    }
    lines += sample.dump() + "\n";
  }
  // Last, so that a folder with this file is whole.
  write_file(folder / "train.jsonl", lines);
}

}  // namespace coeus
