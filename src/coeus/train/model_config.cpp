#include "coeus/train/model_config.h"

#include "coeus/base/config_schema.h"
#include "coeus/models/registry.h"

namespace coeus {
namespace {

void describe(Float8LinearConfig& config, ConfigSection section) {
  section.field("enable_fsdp_float8_all_gather", config.enable_fsdp_float8_all_gather,
                "Gather sharded weights in float8.");
  section.field("precompute_float8_dynamic_scale_for_fsdp",
                config.precompute_float8_dynamic_scale_for_fsdp,
                "Compute all weights' scales in one go after the update.");
  section
      .field("recipe_name", config.recipe_name,
             "How scales are chosen: for a tensor, for a row, or by row with the weight's gradient "
             "in high precision.")
      .one_of({"tensorwise", "rowwise", "rowwise_with_gw_hp"});
  section.field("filter_fqns", config.filter_fqns, "Layers that are left as they are.");
  section.field("emulate", config.emulate, "Compute in float32 what float8 would give, for tests.");
}

void describe(MxLinearConfig& config, ConfigSection section) {
  section
      .field("mxfp8_dim1_cast_kernel_choice", config.mxfp8_dim1_cast_kernel_choice,
             "TorchTitan's choice of a kernel for casts along columns.")
      .one_of({"triton", "cuda", "torch"});
  section.field("recipe_name", config.recipe_name, "The MX format and its matrix product.");
  section.field("filter_fqns", config.filter_fqns, "Layers that are left as they are.");
}

void describe(Float8GroupedMmConfig& config, ConfigSection section) {
  section.field("fqns", config.fqns, "Mixture-of-experts layers to quantize.").may_be_text();
}

void describe(MxGroupedMmConfig& config, ConfigSection section) {
  section.field("recipe_name", config.recipe_name, "The MX format.").one_of({"mxfp8"});
  section.field("fqns", config.fqns, "Mixture-of-experts layers to quantize.").may_be_text();
}

}  // namespace

void describe(ModelConfig& config, ConfigSection& section) {
  section.field("name", config.name, "The model.").one_of(model_names());
  section.field("flavor", config.flavor, "Its size and its masks, such as debugmodel or 8B.");
  section.field("hf_assets_path", config.hf_assets_path,
                "Folder of the tokenizer: tokenizer.json and tokenizer_config.json.");
  section.field("tokenizer_path", config.tokenizer_path, "Older name of hf_assets_path.");
  section.field("converters", config.converters,
                "What to turn the model's layers into, such as float8.");
  section.field("print_after_conversion", config.print_after_conversion,
                "Print the model once it is converted.");
  section
      .field("num_mtp_layers", config.num_mtp_layers,
             "How many further tokens deepseek_v3 learns to predict, by a layer each (multi-token "
             "prediction). Their mean loss counts 0.3 beside the next token's. Own key.")
      .at_least(0);
  section.field("mask", config.mask,
                "A mask expression such as \"causal & document\" that replaces the flavour's only "
                "mask; empty for its own. Own key.");
  section.field("masks", config.masks,
                "The same by name, for models with several masks: model.masks.rope and so on. Own "
                "key.");
  section.field("show_masks", config.show_masks, "Print the masks of the first batch. Own key.");
}

void describe(CompileConfig& config, ConfigSection& section) {
  const std::string reason = "nothing needs compiling";
  section.field("enable", config.enable, "TorchTitan compiles the model.").no_effect(reason);
  section.field("components", config.components, "What it compiles.")
      .one_of({"model", "loss"})
      .no_effect(reason);
  section.field("backend", config.backend, "The compiler.").no_effect(reason);
}

void describe(QuantizeConfig& config, ConfigSection& section) {
  describe(config.linear.float8, section.section("linear.float8"));
  describe(config.linear.mx, section.section("linear.mx"));
  describe(config.grouped_mm.float8, section.section("grouped_mm.float8"));
  describe(config.grouped_mm.mx, section.section("grouped_mm.mx"));
}

}  // namespace coeus
