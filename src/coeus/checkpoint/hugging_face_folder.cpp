#include "coeus/checkpoint/hugging_face_folder.h"

#include <torch/types.h>

#include <algorithm>
#include <set>

#include "coeus/base/log.h"
#include "coeus/checkpoint/block_quantized.h"
#include "coeus/checkpoint/hugging_face_config.h"
#include "coeus/checkpoint/initial_weights.h"
#include "coeus/checkpoint/read_slice.h"
#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

std::map<std::string, std::vector<int64_t>> by_name(const std::vector<NamedShape>& tensors) {
  std::map<std::string, std::vector<int64_t>> map;
  for (const NamedShape& tensor : tensors) map.emplace(tensor.name, tensor.shape);
  return map;
}

/// The box of a slab (see slabs_of).
TensorSlice slab_of(const std::vector<int64_t>& shape, std::optional<int64_t> index) {
  const TensorSlice whole = TensorSlice::whole_of(shape);
  return index && shape.size() == 3 ? whole.narrowed(0, *index, 1) : whole;
}

bool is_eight_bits(StoredType type) {
  return type == StoredType::kF8E4M3 || type == StoredType::kF8E5M2;
}

bool may_be_absent(const std::string& native) { return native.ends_with("expert_bias"); }

at::ScalarType wider(at::ScalarType a, StoredType b) {
  return c10::promoteTypes(a, is_eight_bits(b) ? at::kFloat : scalar_type_of(b));
}

StoredType stored_type_for(at::ScalarType type) {
  return stored_type_of(at::empty({0}, at::TensorOptions().dtype(type)), "");
}

constexpr std::string_view kLanguageModel = "language_model.";

/// In a model that also sees images the language model's names have a prefix.
ForeignNames names_for(ForeignNames names, const StoredTensors& stored) {
  const auto first = stored.all().lower_bound(std::string(kLanguageModel));
  if (first == stored.all().end() || !first->first.starts_with(kLanguageModel)) return names;
  const auto prefix = [](std::string& name) {
    if (!name.empty()) name.insert(0, kLanguageModel);
  };
  for (NameRule& rule : names.rules) prefix(rule.foreign);
  for (std::string& pattern : names.ignored)
    if (pattern.starts_with("model.")) prefix(pattern);
  prefix(names.output);
  prefix(names.embedding);
  return names;
}

std::vector<StoredTensor> sources_at(FileSystem& file_system, const fs::path& path) {
  InitialWeights found = find_initial_weights(file_system, path);
  return std::move(found.model);
}

}  // namespace

std::vector<NamedShape> shapes_of(const NamedTensors& tensors) {
  std::vector<NamedShape> shapes;
  for (const auto& [name, tensor] : tensors) shapes.push_back({name, tensor.sizes().vec()});
  return shapes;
}

std::vector<NamedShape> whole_shapes_of(const NamedTensors& tensors, const HeldSlices& slices,
                                        CheckpointRanks& ranks) {
  nlohmann::json own = nlohmann::json::array();
  together<Error>(ranks, [&] {
    for (const auto& [name, tensor] : tensors)
      own.push_back(nlohmann::json::array({name, held_slice(slices, name, tensor).slice.whole}));
  });
  std::vector<NamedShape> shapes;
  std::set<std::string> names;
  for (const std::string& text : ranks.gather(own.dump())) {
    for (const auto& entry : nlohmann::json::parse(text)) {
      NamedShape shape{entry.at(0), entry.at(1)};
      if (names.insert(shape.name).second) shapes.push_back(std::move(shape));
    }
  }
  return shapes;
}

bool has_hugging_face_names(const std::vector<StoredTensor>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const StoredTensor& source) {
    return source.name.starts_with("model.") || source.name.starts_with("language_model.");
  });
}

HuggingFaceWeights::HuggingFaceWeights(FileSystem& file_system, const fs::path& path,
                                       const HuggingFaceFormat& format,
                                       const std::vector<NamedShape>& native,
                                       const Options& options)
    : path_(path),
      stored_(file_system, sources_at(file_system, path)),
      names_(names_for(format.names, stored_)),
      model_(foreign_model(names_, native)),
      native_shapes_(by_name(native)),
      foreign_shapes_(by_name(model_.foreign)) {
  const bool is_folder = file_system.kind(path) == FileSystem::Kind::kFolder;
  const fs::path folder = is_folder ? path : path.parent_path();
  nlohmann::json config = nlohmann::json::object();
  if (const auto found = read_hugging_face_config(file_system, folder)) {
    config = *found;
    compare_hugging_face_config(config, format.config, (folder / "config.json").string());
  }
  try {
    if (config.contains("quantization_config"))
      block_ = config["quantization_config"].value("weight_block_size", std::vector{block_})[0];
    settle_tied(config.value("tie_word_embeddings", false));
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError(fmt::format("{}: {}", (folder / "config.json").string(), error.what()));
  }
  COEUS_CHECK_AS(CheckpointError, block_ >= 1, "{}: weight_block_size is {}", folder.string(),
                 block_);
  check(options.quantized);
  for (const NamedShape& tensor : native) types_.emplace(tensor.name, widest_of(tensor.name));
  check_copies();
}

void HuggingFaceWeights::settle_tied(bool is_tied) {
  const bool is_wanted = foreign_shapes_.contains(names_.output);
  const StoredTensor* output = stored_.find(names_.output);
  const StoredTensor* embedding = stored_.find(names_.embedding);
  if (embedding == nullptr) return;
  if (is_wanted && output == nullptr && is_tied) {
    stored_.add_alias(names_.output, names_.embedding);
  } else if (!is_wanted && output != nullptr) {
    COEUS_CHECK_AS(CheckpointError,
                   at::equal(stored_.read(names_.output), stored_.read(names_.embedding)),
                   "{}: '{}' differs from '{}', but the model's output is tied to its embedding; "
                   "choose a flavour that is not tied",
                   path_.string(), names_.output, names_.embedding);
    stored_.remove(names_.output);
  }
}

bool HuggingFaceWeights::is_quantized(const StoredTensor& source) const {
  return is_eight_bits(source.type) && stored_.find(source.name + kScaleSuffix) != nullptr;
}

void HuggingFaceWeights::check(bool quantized_allowed) {
  std::vector<std::string> complaints;
  for (const NamedShape& wanted : model_.foreign) {
    const StoredTensor* source = stored_.find(wanted.name);
    const TensorLink& link = model_.of_foreign.find(wanted.name)->second;
    if (source == nullptr) {
      if (!link.is_copy && !may_be_absent(link.native))
        complaints.push_back(
            fmt::format("missing: '{}' of shape [{}]", wanted.name, fmt::join(wanted.shape, ", ")));
    } else if (source->shape != wanted.shape) {
      complaints.push_back(fmt::format("wrong shape: '{}' is [{}]{}, the model needs [{}]",
                                       wanted.name, fmt::join(source->shape, ", "),
                                       place_of(*source), fmt::join(wanted.shape, ", ")));
    } else if (is_quantized(*source) ? !quantized_allowed : !is_plain_float(source->type)) {
      complaints.push_back(fmt::format(
          "wrong dtype: '{}' is {}{}{}", wanted.name, name_of(source->type), place_of(*source),
          is_quantized(*source) ? "; set checkpoint.initial_load_in_hf_quantized" : ""));
    }
  }
  int64_t ignored = 0;
  for (const auto& [name, source] : stored_.all()) {
    if (foreign_shapes_.contains(name)) continue;
    std::string weight = name;
    if (weight.ends_with(kScaleSuffix)) weight.resize(weight.size() - strlen(kScaleSuffix));
    if (weight != name && foreign_shapes_.contains(weight)) continue;
    if (is_ignored(names_, weight)) {
      ++ignored;
      continue;
    }
    complaints.push_back(fmt::format("unknown: '{}' of shape [{}]{}", name,
                                     fmt::join(source.shape, ", "), place_of(source)));
  }
  COEUS_CHECK_AS(CheckpointError, complaints.empty(), "{} does not fit the model:{}",
                 path_.string(), as_lines(complaints));
  if (ignored > 0)
    log_info("{}: {} tensors are left unread, as this model has no use for them", path_.string(),
             ignored);
}

void HuggingFaceWeights::check_copies() {
  for (const auto& [name, link] : model_.of_foreign) {
    if (!link.is_copy || stored_.find(name) == nullptr) continue;
    COEUS_CHECK_AS(CheckpointError,
                   at::equal(read_foreign(name, TensorSlice::whole_of(foreign_shapes_.at(name))),
                             slab(link.native, std::nullopt)),
                   "{}: '{}' differs from what it must repeat, '{}'", path_.string(), name,
                   link.native);
  }
}

StoredType HuggingFaceWeights::widest_of(const std::string& native) const {
  std::optional<at::ScalarType> type;
  const auto [first, last] = model_.of_native.equal_range(native);
  for (auto link = first; link != last; ++link) {
    if (const StoredTensor* source = stored_.find(link->second.foreign))
      type = wider(
          type.value_or(is_eight_bits(source->type) ? at::kFloat : scalar_type_of(source->type)),
          source->type);
  }
  return stored_type_for(type.value_or(at::kFloat));
}

at::Tensor HuggingFaceWeights::read_foreign(const std::string& name, const TensorSlice& slice) {
  if (!is_quantized(*stored_.find(name))) return stored_.read(name, slice);
  const bool is_of_experts = slice.whole.size() == 3;
  COEUS_ASSERT(!is_of_experts || slice.size[0] == 1);
  const auto index = is_of_experts ? std::optional(slice.begin[0]) : std::nullopt;
  const std::string scales = name + kScaleSuffix;
  const TensorSlice held = slab_of(slice.whole, index);
  at::Tensor weight = stored_.read(name, held);
  at::Tensor scale = stored_.read(scales, slab_of(stored_.find(scales)->shape, index));
  if (is_of_experts) {
    weight = weight.squeeze(0);
    scale = scale.squeeze(0);
  }
  return narrowed_to(dequantized(weight, scale, block_, name).view(held.size), held, slice);
}

at::Tensor HuggingFaceWeights::read(const std::string& native, const TensorSlice& slice) {
  const at::Tensor values = at::zeros(slice.size, scalar_type_of(type_of(native)));
  if (slice.whole.size() == 3 && slice.size[0] != 1) {
    for (int64_t i = 0; i < slice.size[0]; ++i)
      values.narrow(0, i, 1).copy_(read(native, slice.narrowed(0, i, 1)));
    return values;
  }
  if (slice.numel() == 0) return values;
  const auto [first, last] = model_.of_native.equal_range(native);
  for (auto found = first; found != last; ++found) {
    const TensorLink& link = found->second;
    if ((link.expert && link.expert != slice.begin[0]) || stored_.find(link.foreign) == nullptr)
      continue;
    const TensorSlice wide = in_whole_heads(link, slice);
    const at::Tensor foreign = read_foreign(link.foreign, foreign_slice(link, wide));
    const at::Tensor around = wide == slice ? values : at::empty(wide.size, values.options());
    const auto views = matching_views(link, around, foreign);
    views.first.copy_(views.second);
    if (wide != slice) values.copy_(narrowed_to(around, wide, slice));
  }
  return values;
}

at::Tensor HuggingFaceWeights::slab(const std::string& native, std::optional<int64_t> index) {
  const TensorSlice slice = slab_of(native_shapes_.at(native), index);
  const at::Tensor values = read(native, slice);
  return index && slice.whole.size() == 3 ? values.squeeze(0) : values;
}

void HuggingFaceWeights::fill(const NamedTensors& model, const HeldSlices& slices) {
  at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : model) {
    at::Tensor target = tensor.detach();
    const TensorSlice slice = held_slice(slices, name, tensor).slice;
    if (target.dim() != 3) {
      target.copy_(read(name, slice));
      continue;
    }
    for (int64_t i = 0; i < target.size(0); ++i)
      target.narrow(0, i, 1).copy_(read(name, slice.narrowed(0, i, 1)));
  }
}

NativeWeights native_weights_of(const NamedTensors& tensors) {
  NativeWeights weights;
  weights.shapes = shapes_of(tensors);
  std::map<std::string, at::Tensor> by_name(tensors.begin(), tensors.end());
  for (const auto& [name, tensor] : by_name)
    weights.types.emplace(name, stored_type_of(tensor, name));
  weights.read = [by_name = std::move(by_name)](const std::string& name,
                                                std::optional<int64_t> index) {
    const at::Tensor tensor = by_name.at(name).detach();
    return (index ? tensor[*index] : tensor).to(at::kCPU);
  };
  return weights;
}

StoredType exported_type(const std::string& native, StoredType type,
                         const std::optional<StoredType>& export_type) {
  return export_type && is_plain_float(type) && !may_be_absent(native) ? *export_type : type;
}

namespace {

std::vector<SafetensorsEntry> foreign_entries(const ForeignModel& model,
                                              const NativeWeights& weights,
                                              const std::optional<StoredType>& export_type) {
  std::vector<SafetensorsEntry> entries;
  for (const NamedShape& tensor : model.foreign) {
    std::optional<at::ScalarType> type;
    const auto [first, last] = model.of_foreign.equal_range(tensor.name);
    for (auto link = first; link != last; ++link) {
      const std::string& native = link->second.native;
      const StoredType own = exported_type(native, weights.types.at(native), export_type);
      type = wider(type.value_or(scalar_type_of(own)), own);
    }
    entries.push_back({tensor.name, stored_type_for(*type), tensor.shape, 0, 0});
  }
  return entries;
}

void warn_of_lost_biases(const ForeignModel& model, const NativeWeights& weights) {
  for (const std::string& name : model.left_out) {
    const int64_t lost = weights.read(name, std::nullopt).count_nonzero().item<int64_t>();
    if (lost > 0)
      log_warning(
          "'{}' has no place in Hugging Face's form of this model: {} numbers are left out, and "
          "tokens will be routed otherwise there",
          name, lost);
  }
}

std::string config_text(const HuggingFaceFormat& format,
                        const std::vector<SafetensorsEntry>& entries) {
  nlohmann::ordered_json config = format.config;
  const at::ScalarType type = scalar_type_of(entries.at(0).type);
  config["torch_dtype"] = type == at::kBFloat16 ? "bfloat16"
                          : type == at::kHalf   ? "float16"
                                                : "float32";
  return config.dump(2) + "\n";
}

}  // namespace

uint64_t hugging_face_bytes(const HuggingFaceFormat& format, const NativeWeights& weights,
                            const HuggingFaceExport& options) {
  uint64_t bytes = 0;
  const ForeignModel model = foreign_model(format.names, weights.shapes);
  for (const SafetensorsEntry& entry : foreign_entries(model, weights, options.type))
    bytes += bytes_of(entry.type, entry.shape).value_or(0);
  return bytes;
}

void write_hugging_face_folder(FileSystem& file_system, const fs::path& folder,
                               const HuggingFaceFormat& format, const NativeWeights& weights,
                               const HuggingFaceExport& options) {
  const ForeignModel model = foreign_model(format.names, weights.shapes);
  const auto shapes = by_name(model.foreign);
  const auto native_shapes = by_name(model.native);
  const auto entries = foreign_entries(model, weights, options.type);
  std::map<std::string, StoredType> types;
  for (const SafetensorsEntry& entry : entries) types.emplace(entry.name, entry.type);
  warn_of_lost_biases(model, weights);
  const auto read = [&](const std::string& name, std::optional<int64_t> index) {
    const TensorSlice held = slab_of(shapes.at(name), index);
    const at::Tensor slab = at::empty(held.size, scalar_type_of(types.at(name)));
    const auto [first, last] = model.of_foreign.equal_range(name);
    for (auto found = first; found != last; ++found) {
      const TensorLink& link = found->second;
      const auto native_index = link.expert ? link.expert : index;
      const TensorSlice native = slab_of(native_shapes.at(link.native), native_index);
      const auto views =
          matching_views(link, weights.read(link.native, native_index).reshape(native.size),
                         narrowed_to(slab, held, foreign_slice(link, native)));
      views.second.copy_(views.first);
    }
    return slab;
  };
  write_safetensors_folder(file_system, folder, entries, read, options.max_file_bytes);
  write_synced(file_system, folder / "config.json", config_text(format, entries));
  file_system.sync_folder(folder);
}

}  // namespace coeus
