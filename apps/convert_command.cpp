// coeus convert: weights from Hugging Face's form into coeus's and back.
#include <fmt/core.h>

#include <memory>
#include <string>

#include "coeus/train/convert.h"
#include "commands.h"

namespace coeus {

namespace {

struct ConvertArguments {
  ConvertOptions options;
  std::string to;
  std::string export_dtype;
};

ExitCode convert(ConvertArguments arguments) {
  ConvertOptions& options = arguments.options;
  options.to_hugging_face = arguments.to == "hf";
  if (arguments.export_dtype == "float32") options.export_type = StoredType::kF32;
  if (arguments.export_dtype == "bfloat16") options.export_type = StoredType::kBF16;
  if (arguments.export_dtype == "float16") options.export_type = StoredType::kF16;
  const Converted converted = convert_weights(options);
  fmt::print("wrote {} bytes to {} ({} native tensors)\n", converted.bytes, options.out.string(),
             converted.tensors);
  return ExitCode::kDone;
}

}  // namespace

void add_convert_command(CLI::App& program, Command& chosen) {
  auto arguments = std::make_shared<ConvertArguments>();
  ConvertOptions& options = arguments->options;
  CLI::App* command = program.add_subcommand(
      "convert",
      "Convert weights between Hugging Face's names and coeus's (TorchTitan's).\n"
      "--to native reads a Hugging Face folder (safetensors files, index, config.json; weights in "
      "8 bits with block scales become float32) and writes safetensors files that "
      "checkpoint.initial_load_path takes. --to hf reads a checkpoint or safetensors with native "
      "names and writes such a folder. Nothing is lost on the way, and one tensor at a time is in "
      "memory.");
  command->add_option("IN", options.in, "A folder of weights, or one .safetensors file")
      ->required();
  command->add_option("OUT", options.out, "A folder that does not exist yet")->required();
  command->add_option("--to", arguments->to, "The form to write: hf or native")
      ->required()
      ->check(CLI::IsMember({"hf", "native"}));
  command->add_option("--model.name", options.model, "llama3, llama4, deepseek_v3 or qwen3")
      ->required();
  command->add_option("--model.flavor", options.flavor, "Its sizes, such as 8B, or from_hf")
      ->required();
  command->add_option("--config-folder", options.config_folder,
                      "Where --model.flavor from_hf finds config.json (default: IN)");
  command
      ->add_option("--model.num_mtp_layers", options.num_mtp_layers,
                   "deepseek_v3: prediction layers to convert with it; otherwise they are left out")
      ->capture_default_str();
  command
      ->add_option("--export-dtype", arguments->export_dtype,
                   "float32, bfloat16 or float16 (default: each tensor's own)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  command
      ->add_option("--max-file-bytes", options.max_file_bytes,
                   "Split the weights over files of at most so many bytes")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->footer(
      "Examples:\n"
      "  coeus convert Llama-3.1-8B weights/llama3-8b --to native --model.name llama3 "
      "--model.flavor 8B\n"
      "  coeus convert outputs/checkpoint/step-1000 my-model --to hf --model.name qwen3 \\\n"
      "      --model.flavor 0.6B --export-dtype bfloat16");
  command->callback([arguments, &chosen] { chosen = [arguments] { return convert(*arguments); }; });
}

}  // namespace coeus
