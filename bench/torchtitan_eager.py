#!/usr/bin/env python3
"""Trains TorchTitan's own debug models in PyTorch eager on a CPU and prints a table beside flavours.sh's.

usage: torchtitan_eager.py --torchtitan DIR [--steps N] [--batch B] [--seq-len S] [FLAVOUR ...]
  DIR      a checkout of TorchTitan at 6a3a9da95: git clone https://github.com/pytorch/torchtitan DIR
           && git -C DIR checkout 6a3a9da95
  FLAVOUR  such as llama3/debugmodel; none: all that flavours.sh runs
Forward, cross entropy, backward, clip and fused AdamW with TorchTitan's model, loss and optimizer,
float32, on the tokens of training.dataset = "synthetic"; rates are medians after the first steps.
TorchTitan is made for GPUs: a flavour is first run as it is, and where that fails, what failed is
replaced by an operation of the same meaning that a CPU has (CURES), one by one, until the model trains.
The last column names what was, and lines below the table say what the names mean.
Needs: pip install torch==2.11.0 torchdata datasets tokenizers tomli tyro tensorboard einops pillow
"""
import argparse
import functools
import importlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
import traceback
from types import SimpleNamespace

# Qwen 3's small flavours are coeus's: TorchTitan's smallest has 0.6 billion parameters.
SMALL_QWEN3 = dict(vocab_size=2048, dim=256, n_layers=6, n_heads=16, n_kv_heads=8, head_dim=32, hidden_dim=768)
BLOCK_CAUSAL = dict(use_flex_attn=True, attn_mask_type="block_causal")
FLAVOURS = {
    "llama3/debugmodel": "models.llama3",
    "llama3/debugmodel_flex_attn": "models.llama3",
    "llama4/debugmodel": "experiments.llama4",
    "llama4/debugmodel_irope": "experiments.llama4",
    "deepseek_v3/debugmodel": "models.deepseek_v3",
    "deepseek_v3/debugmodel_flex_attn": "models.deepseek_v3",
    "qwen3/debugmodel": "experiments.qwen3",
    "qwen3/debugmodel_flex_attn": "experiments.qwen3",
    "qwen3/debugmodel_moe_small": "experiments.qwen3",
    "vlm/debugmodel": "experiments.vlm",
}
MASK64, GOLDEN = 2**64 - 1, 0x9E3779B97F4A7C15
WARM_UP = 3


def mix(z):
    z &= MASK64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK64
    return z ^ (z >> 31)


def draw(i, j):
    return mix(mix((i + 1) * GOLDEN) + (j + 1) * GOLDEN)


def synthetic_stream(vocab):
    """The tokens of coeus's synthetic data set; the last two ids of the vocabulary are BOS and EOS."""
    n, i = vocab - 2, 0
    while True:
        base = 8 << draw(i, 0) % 6
        token = draw(i, 2) % n
        yield from (vocab - 2, token)
        for k in range(1, base + draw(i, 1) % base):
            token = (5 * token + 1 + draw(i, 2 + k) % 8) % n
            yield token
        yield vocab - 1
        i += 1


def text_batches(args, batch, seq_len):
    import torch

    stream = synthetic_stream(args.vocab_size)
    while True:
        rows = torch.tensor([[next(stream) for _ in range(seq_len + 1)] for _ in range(batch)])
        yield {"input": rows[:, :-1].contiguous()}, rows[:, 1:].contiguous()


def image_batches(args, batch, seq_len):
    """Rows full of pictures of 3 x 6 patches with ten tokens of text each (about what `coeus dataset
    shapes` makes), batched by TorchTitan's collator. Its limits are what the rows hold: patches filled up
    to a larger limit get positions from memory that TorchTitan never writes, and the loss becomes NaN."""
    import torch
    from torchtitan.experiments.vlm.datasets.mm_collator_nld import MultiModalCollatorNLD
    from torchtitan.experiments.vlm.model.args import SpecialTokens

    patch, high, wide = args.encoder.patch_size, 3, 6
    img, boi, eoi, pad, eos = range(args.vocab_size - 5, args.vocab_size)
    special = SpecialTokens("img", img, "boi", boi, "eoi", eoi, "pad", pad)
    pictures_a_row = (seq_len + 1) // (high * wide + 13)
    collate = MultiModalCollatorNLD(batch, seq_len, patch, batch * pictures_a_row, high * wide, special)
    while True:
        samples = []
        for _ in range(batch):
            ids, pictures = [], []
            for _ in range(pictures_a_row):
                ids += [boi] + [img] * (high * wide) + [eoi] + torch.randint(0, img, (10,)).tolist() + [eos]
                pictures.append(torch.randn(1, high * patch, wide * patch, 3))
            ids = torch.tensor(ids)
            labels = ids.masked_fill((ids >= img) & (ids <= eoi), special.ignore_id)
            samples.append({"input_ids": ids, "labels": labels, "pixel_values": pictures})
        yield collate(samples)


def cpu_masks():
    from torchtitan.models import attention
    from torch.nn.attention.flex_attention import create_block_mask

    attention._compiled_create_block_mask = lambda *a, **kw: create_block_mask(*a, **{**kw, "device": "cpu"})


def dense_attention():
    """FlexAttention as scaled_dot_product_attention under the same mask, made dense once a batch."""
    import torch.nn.functional as F
    from torch.nn.attention.flex_attention import create_mask
    from torchtitan.models import attention

    def attend(q, k, v, block_mask, scale=None):
        if not hasattr(block_mask, "dense"):
            shape = (block_mask.shape[0], None, q.shape[2], k.shape[2])
            block_mask.dense = create_mask(block_mask.mask_mod, *shape, device="cpu")
        grouped = q.shape[1] != k.shape[1]
        return F.scaled_dot_product_attention(q, k, v, block_mask.dense, scale=scale, enable_gqa=grouped)

    attention.FlexAttentionWrapper._compiled_flex_attn = staticmethod(attend)


def math_attention():
    from torchtitan.models import attention

    backends = attention.SDPBackend
    attention.ScaledDotProductAttentionWrapper.sdpa_backends = [backends.FLASH_ATTENTION, backends.MATH]


def count_by_bincount():
    import torch

    torch.histc = lambda x, bins, min, max: torch.bincount(x, minlength=bins)


def cpu_indices():
    indices = importlib.import_module("torchtitan.experiments.kernels.moe.indices")
    indices.generate_permute_indices = functools.partial(indices.generate_permute_indices, use_cpu=True)


# name: (what the traceback says where it is needed, what takes its place, the meaning of the name)
CURES = {
    "mask": (r"in create_attention_mask", cpu_masks,
             "the compiled create_block_mask makes its mask for CUDA: not compiled, for the CPU"),
    "flex": (r"FlexAttention does not support backward on CPU", dense_attention,
             "FlexAttention has no backward on a CPU: scaled_dot_product_attention with the mask made dense"),
    "math": (r"No available kernel", math_attention,
             "the fused kernels allowed take no heads of two sizes on a CPU: SDPBackend.MATH allowed too, a setting"),
    "histc": (r"histogram_cpu", count_by_bincount, "torch.histc takes no integers on a CPU: torch.bincount"),
    "indices": (r"generate_permute_indices", cpu_indices,
                "a Triton kernel orders the experts' rows: TorchTitan's own use_cpu=True"),
}
EXPERTS = "experts in float32, as coeus's here: use_grouped_mm=False, a setting (True computes them in bfloat16)"


def model_args(flavour, seq_len):
    """TorchTitan's spec and the flavour's arguments, and whether it has experts."""
    model, name = flavour.split("/")
    module = importlib.import_module("torchtitan." + FLAVOURS[flavour])
    spec = module.get_train_spec()
    if model == "qwen3":
        from torchtitan.models.moe import MoEArgs

        args = module.Qwen3ModelArgs(**SMALL_QWEN3, **(BLOCK_CAUSAL if name.endswith("flex_attn") else {}))
        if "moe" in name:
            args.moe_enabled, args.moe_inter_dim = True, 256
            args.moe_args = MoEArgs(num_experts=8, num_shared_experts=0, top_k=2, score_func="softmax",
                                    route_norm=True, score_before_experts=False)
    else:
        args = spec.model_args[name]
    args.max_seq_len = seq_len
    experts = hasattr(args, "moe_args") and getattr(args, "moe_enabled", True)
    if experts:
        args.moe_args.use_grouped_mm = False
    return spec, args, experts


def train(flavour, a, cures):
    """One flavour in this process: its figures, or the cures it needs, or why it does not run."""
    import torch
    from torchtitan.config import job_config

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    spec, args, experts = model_args(flavour, a.seq_len)
    for cure in cures:
        CURES[cure][1]()

    def build():
        model = spec.model_cls(args)
        model.init_weights(buffer_device=torch.device("cpu"))
        no_mesh = SimpleNamespace(dp_cp_enabled=False)
        return model, spec.build_optimizers_fn([model], job_config.Optimizer(), no_mesh)

    model, optimizer = build()
    loss_fn = spec.build_loss_fn(job_config.JobConfig())
    tokenizer = SimpleNamespace(eos_id=args.vocab_size - 1)
    batches = (image_batches if flavour.startswith("vlm") else text_batches)(args, a.batch, a.seq_len)

    def step():
        inputs, labels = next(batches)
        tokens = inputs.pop("input")
        if args.use_flex_attn:
            inputs["attention_masks"] = model.get_attention_masks(tokens, tokenizer, dict(inputs))
        optimizer.zero_grad()
        logits = model(tokens, **inputs)
        loss = loss_fn(logits, labels)
        del logits
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        return loss.item()

    needed = list(cures)
    while True:
        try:
            loss = step()
            break
        except Exception as error:
            text = traceback.format_exc()
            cure = next((c for c in CURES if c not in needed and re.search(CURES[c][0], text)), None)
            if cure is None:
                return {"why": f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"}
            needed.append(cure)
            CURES[cure][1]()
            model, optimizer = build()
    if needed != list(cures):
        return {"cures": needed}
    first, rates = time.time() - a.started, []
    for _ in range(a.steps - 1):
        start = time.perf_counter()
        loss = step()
        rates.append(a.batch * a.seq_len / (time.perf_counter() - start))
    return {
        "rate": statistics.median(rates[WARM_UP - 1:] or rates),
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "first": first,
        "loss": loss,
        "threads": torch.get_num_threads(),
        "names": ["experts"] * experts + needed,
    }


def in_own_process(flavour, a, cures):
    command = [sys.executable, __file__, "--torchtitan", a.torchtitan, "--steps", str(a.steps), "--batch", str(a.batch),
               "--seq-len", str(a.seq_len), "--cures", ",".join(cures), "--started", str(time.time()), flavour]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    if run.returncode:
        return {"why": (run.stderr.strip().splitlines() or ["no output"])[-1]}
    return json.loads(run.stdout.splitlines()[-1])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("flavours", nargs="*", metavar="FLAVOUR")
    p.add_argument("--torchtitan", required=True, metavar="DIR")
    p.add_argument("--steps", type=int, default=12)
    p.add_argument("--batch", type=int, default=2)
    p.add_argument("--seq-len", type=int, default=512)
    p.add_argument("--cures", help=argparse.SUPPRESS)
    p.add_argument("--started", type=float, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.started:
        sys.path.insert(0, a.torchtitan)
        print(json.dumps(train(a.flavours[0], a, [c for c in a.cures.split(",") if c])))
        return
    if not os.path.isdir(os.path.join(a.torchtitan, "torchtitan", "models")):
        p.error(f"--torchtitan: no TorchTitan in {a.torchtitan}: it must hold torchtitan/models")
    if unknown := set(a.flavours) - set(FLAVOURS):
        p.error(f"no flavour {', '.join(unknown)}: there are {', '.join(FLAVOURS)}")
    used = []
    print("| flavour | tokens/s | peak memory, GiB | to the end of step 1, s | set or replaced for the CPU |")
    print("|---|---|---|---|---|", flush=True)
    for flavour in a.flavours or FLAVOURS:
        result = in_own_process(flavour, a, [])
        if "cures" in result:
            result = in_own_process(flavour, a, result["cures"])
        if "why" in result:
            print(f"| {flavour} | does not run | | | {result['why'].replace('|', '/')} |", flush=True)
            continue
        print(f"| {flavour} | {result['rate']:,.0f} | {result['gib']:.2f} | {result['first']:.1f} | "
              f"{', '.join(result['names'])} |", flush=True)
        used += [name for name in result["names"] if name not in used]
        print(f"{flavour}: {result['threads']} threads, last loss {result['loss']:.4f}", file=sys.stderr)
    print()
    for name in used:
        print(f"{name}: {CURES[name][2] if name in CURES else EXPERTS}")


if __name__ == "__main__":
    main()
