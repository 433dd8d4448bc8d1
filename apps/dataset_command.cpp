// coeus dataset shapes
#include <memory>
#include <string>

#include "coeus/base/log.h"
#include "coeus/data/images/shapes.h"
#include "commands.h"

namespace coeus {

namespace {

struct ShapesArguments {
  std::string folder;
  int64_t count = 2000;
  uint64_t seed = 0;
};

ExitCode make_shapes(const ShapesArguments& arguments) {
  write_shapes(arguments.folder, arguments.count, arguments.seed);
  log_info("wrote {} samples: {}/train.jsonl, and their images beside it", arguments.count,
           arguments.folder);
  return ExitCode::kDone;
}

}  // namespace

void add_dataset_command(CLI::App& program, Command& chosen) {
  auto* app = program.add_subcommand("dataset", "Makes small data sets to try things with");
  app->require_subcommand(1);
  auto arguments = std::make_shared<ShapesArguments>();
  auto* shapes = app->add_subcommand(
      "shapes",
      "Draws pictures of coloured shapes, writes what they show (\"a red circle left of a blue "
      "square\"), and makes a data set for training.dataset = \"image_text\" of them: JSON lines "
      "beside a folder of PNG and JPEG files. The same count and seed give the same files.\n"
      "Examples:\n"
      "  coeus dataset shapes my_shapes --count 2000\n"
      "  coeus tokenizer train --input my_shapes --image-tokens --output my_tokenizer");
  shapes->add_option("folder", arguments->folder, "The folder to make")->required();
  shapes->add_option("--count", arguments->count, "Samples to make")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  shapes->add_option("--seed", arguments->seed, "Another seed makes other pictures")
      ->capture_default_str();
  shapes->callback(
      [arguments, &chosen] { chosen = [arguments] { return make_shapes(*arguments); }; });
}

}  // namespace coeus
