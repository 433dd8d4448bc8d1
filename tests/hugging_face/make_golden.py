#!/usr/bin/env python3
"""Makes the golden figures of tests/hugging_face/golden with the transformers library.

    python3 -m venv venv && venv/bin/pip install torch==2.11.0 transformers==5.23.0
    venv/bin/python tests/hugging_face/make_golden.py            # write them
    venv/bin/python tests/hugging_face/make_golden.py --check    # compare with those committed

Each file is a tiny model: its config.json, the names and shapes of its tensors as they stand in a
model folder, and what it makes of some documents, one at a time, in float32. The numbers of its
weights are not kept: weight() is a function of a tensor's name and an element's number, and
formula_weights.cpp computes the same.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).parent / "golden"
SEED = 2025
VOCAB = 40
# With chunks of 8 tokens each document starts where a chunk starts.
DOCUMENT_LENGTHS = (24, 16, 20)

COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LLAMA = COMMON | {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "intermediate_size": 56,
    "num_key_value_heads": 2,
}
LLAMA4 = COMMON | {
    "architectures": ["Llama4ForCausalLM"],
    "model_type": "llama4_text",
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "intermediate_size": 24,
    "intermediate_size_mlp": 40,
    "num_local_experts": 4,
    "num_experts_per_tok": 1,
    "attention_chunk_size": 8,
    "floor_scale": 4,
    "attn_scale": 0.4,
}
DEEPSEEK = COMMON | {
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "intermediate_size": 40,
    "moe_intermediate_size": 20,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 16,
    "v_head_dim": 12,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "num_nextn_predict_layers": 0,
    "rope_theta": 1000.0,
}
DEEPSEEK_V3 = DEEPSEEK | {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "n_group": 4,
    "topk_group": 2,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}
YARN = {
    "type": "yarn",
    "factor": 8,
    "beta_fast": 4,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 16,
}
QWEN3 = COMMON | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "intermediate_size": 48,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "rms_norm_eps": 1e-6,
    "use_sliding_window": False,
    "rope_theta": 1000000.0,
}

LANGUAGE_MODELS = {
    # The older form of rotary parameters.
    "llama": LLAMA | {"rope_theta": 500.0, "rope_scaling": LLAMA3_SCALING},
    # The newer one, and the embedding as output.
    "llama_tied": LLAMA
    | {"tie_word_embeddings": True, "rope_parameters": LLAMA3_SCALING | {"rope_theta": 500.0}},
    # As Scout: q and k normed, attention's temperature tuned; here with dense layers too.
    "llama4_scout": LLAMA4
    | {
        "no_rope_layers": [1, 0, 1, 1],
        "interleave_moe_layer_step": 2,
        "use_qk_norm": True,
        "attn_temperature_tuning": True,
        "rope_theta": 500.0,
        "rope_scaling": LLAMA3_SCALING,
    },
    # As Maverick: neither, and every fourth layer without positions because no list says which.
    "llama4_maverick": LLAMA4
    | {
        "interleave_moe_layer_step": 1,
        "num_experts_per_tok": 2,
        "use_qk_norm": False,
        "attn_temperature_tuning": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    },
    "deepseek_v3": DEEPSEEK_V3 | {"q_lora_rank": 24, "rope_scaling": YARN},
    # Queries without a latent, a rotary table with a factor, scores as they are.
    "deepseek_v3_mscale": DEEPSEEK_V3
    | {
        "q_lora_rank": None,
        "norm_topk_prob": False,
        "n_group": 1,
        "topk_group": 1,
        "rope_scaling": YARN | {"mscale": 0.7, "mscale_all_dim": 1.6},
    },
    "deepseek_v2": DEEPSEEK
    | {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "q_lora_rank": None,
        "n_group": 4,
        "topk_group": 2,
        "topk_method": "group_limited_greedy",
        "scoring_func": "softmax",
        "norm_topk_prob": False,
        "routed_scaling_factor": 4.0,
        "rope_scaling": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707},
    },
    "qwen3": QWEN3 | {"tie_word_embeddings": True},
    "qwen3_moe": QWEN3
    | {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "num_hidden_layers": 4,
        "moe_intermediate_size": 20,
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [2],
    },
}

SIGLIP2 = {
    "architectures": ["Siglip2VisionModel"],
    "model_type": "siglip2_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_channels": 3,
    "num_patches": 16,
    "patch_size": 4,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
    "attention_dropout": 0.0,
}
# Rows and columns of patches.
IMAGES = ((4, 4), (3, 5), (6, 2), (1, 7))

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def mix64(z):
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % (1 << 64)
    return np.uint64(value)


def uniform(seed, name, count):
    """CounterRandom(seed, name).uniform(i) of src/coeus/base/random.h for i < count."""
    with np.errstate(over="ignore"):
        state = mix64(fnv1a64(name) + mix64(np.uint64(seed) + GOLDEN_GAMMA))
        bits = mix64(state + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * GOLDEN_GAMMA)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def weight(name, shape):
    """Around 1 for a norm's weight, around 0 for all else, a quarter to either side."""
    centre = 1.0 if "norm" in name and name.endswith(".weight") else 0.0
    values = centre + (uniform(SEED, name, int(np.prod(shape))) - 0.5) * 0.5
    return values.astype(np.float32).reshape(shape)


def loaded(model_class, config, prefix=""):
    """The model with weights by formula, read from a folder of its own; and its tensors' shapes.

    `prefix` is what stands before the tensors' names where the model is part of a larger one.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "config.json").write_text(json.dumps(config))
        parsed = transformers.AutoConfig.from_pretrained(path)
        model_class.from_config(parsed).save_pretrained(path)
        with safe_open(path / "model.safetensors", "np") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}
        (path / "config.json").write_text(json.dumps(config))
        weights = {name: weight(prefix + name, shape) for name, shape in shapes.items()}
        save_file(weights, path / "model.safetensors", {"format": "pt"})
        model, info = model_class.from_pretrained(
            path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        problems = {key: value for key, value in info.items() if value}
        if problems:
            raise SystemExit(f"{config['model_type']}: {problems}")
    return model.eval(), {prefix + name: shape for name, shape in shapes.items()}


def language_model(name, config):
    model, shapes = loaded(transformers.AutoModelForCausalLM, config)
    documents = []
    for number, length in enumerate(DOCUMENT_LENGTHS):
        tokens = (uniform(SEED, f"{name} document {number}", length) * VOCAB).astype(np.int64)
        with torch.no_grad():
            logits = model(torch.from_numpy(tokens)[None], use_cache=False).logits[0]
        documents.append({"tokens": tokens.tolist(), "logits": logits})
    return {"config": config, "tensors": shapes, "documents": documents}


def vision_tower(config):
    model, shapes = loaded(transformers.AutoModel, config, "vision_model.")
    width = config["num_channels"] * config["patch_size"] ** 2
    images = []
    for number, (rows, columns) in enumerate(IMAGES):
        count = rows * columns
        pixels = uniform(SEED, f"image {number}", count * width) * 2 - 1
        pixels = torch.from_numpy(pixels.astype(np.float32)).view(1, count, width)
        with torch.no_grad():
            output = model(
                pixels,
                pixel_attention_mask=torch.ones(1, count, dtype=torch.int64),
                spatial_shapes=torch.tensor([[rows, columns]]),
            ).last_hidden_state[0]
        images.append({"rows": rows, "columns": columns, "hidden": output})
    return {"config": config, "tensors": shapes, "images": images}


def as_text(golden):
    """JSON with a line for each tensor, token row and image row, numbers as float32 prints them."""

    def numbers(tensor):
        rows = tensor.numpy().astype(np.float32)
        return [[float(str(value)) for value in row] for row in rows]

    def lines(value, indent):
        if isinstance(value, torch.Tensor):
            value = numbers(value)
        pad = " " * (indent + 1)
        if isinstance(value, dict):
            inner = (f"{pad}{json.dumps(k)}: {lines(v, indent + 1)}" for k, v in value.items())
            return "{\n" + ",\n".join(inner) + "\n" + " " * indent + "}"
        if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
            inner = (pad + lines(item, indent + 1) for item in value)
            return "[\n" + ",\n".join(inner) + "\n" + " " * indent + "]"
        return json.dumps(value)

    return lines(golden, 0) + "\n"


def largest_difference(a, b):
    """Of two JSON values of one structure; infinity where other things than floats differ."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b)
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return max((largest_difference(a[key], b[key]) for key in a), default=0.0)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return max(map(largest_difference, a, b), default=0.0)
    return 0.0 if a == b else float("inf")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    made = {name: language_model(name, config) for name, config in LANGUAGE_MODELS.items()}
    made["siglip2"] = vision_tower(SIGLIP2)
    worst = 0.0
    for name, golden in made.items():
        path = FOLDER / f"{name}.json"
        text = as_text(golden)
        if options.check:
            difference = largest_difference(json.loads(text), json.loads(path.read_text()))
            print(f"{name}: {difference:.2g}")
            worst = max(worst, difference)
        else:
            path.write_text(text)
            print(f"{path}: {len(text)} bytes")
    return 1 if worst > 2e-5 else 0


if __name__ == "__main__":
    sys.exit(main())
