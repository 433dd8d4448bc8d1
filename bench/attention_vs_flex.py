#!/usr/bin/env python3
"""Attention beside PyTorch's: FlexAttention, compiled, and SDPA (cuDNN on a GPU), in one process.

    bench/attention_vs_flex.py [--device cpu] [--max-autotune] [--filter "8192 32/8"]
                               [--library build/libcoeus_operators.so]

Times all of them on the same machine with the same documents, and prints a table: TFLOP/s over the
mask's true area, forward and backward (2.5 times forward), medians of ten runs after three. "first
call" is what FlexAttention takes to build its mask and compile, forward and backward. On a CPU
numbers are float32, lengths an eighth, rates GFLOP/s, and FlexAttention has no backward.
"""

import argparse
import pathlib
import random
import statistics
import time
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

LIBRARY = pathlib.Path(__file__).resolve().parents[1] / "build" / "libcoeus_operators.so"
ALL = ("causal", "documents", "window", "irope")
# Tokens, heads of queries and of keys, dims of keys and of values, masks.
ROWS = [
    (8192, (32, 8), (128, 128), ALL),
    (32768, (32, 8), (128, 128), ("causal", "documents")),
    (8192, (64, 8), (128, 128), ("causal",)),
    (32768, (64, 8), (128, 128), ("causal", "documents")),
    (8192, (16, 16), (192, 128), ALL),
    (8192, (128, 128), (192, 128), ("causal",)),
    (8192, (32, 32), (64, 64), ALL),
]


def document_lengths(tokens, mean):
    """Documents of exponential lengths that fill `tokens`."""
    draw = random.Random(1)
    lengths = []
    while tokens > 0:
        lengths.append(min(max(int(draw.expovariate(1 / mean)), 1), tokens))
        tokens -= lengths[-1]
    return lengths


class Case:
    """A row of the table: its inputs, and the mask as coeus and as FlexAttention say it."""

    def __init__(self, device, tokens, heads, dims, mask):
        self.device = device
        self.dtype = torch.bfloat16 if device == "cuda" else torch.float32
        shorter = 1 if device == "cuda" else 8
        self.tokens, self.heads, self.dims = tokens // shorter, heads, dims
        window, chunk = 1024 // shorter, 2048 // shorter
        documents = document_lengths(self.tokens, 2048 // shorter)
        text = {"causal": "causal", "documents": "causal & document",
                "window": f"sliding_window({window})",
                "irope": f"causal & document & chunk({chunk})"}[mask]
        self.block_mask = torch.ops.coeus.lower(torch.classes.coeus.Mask(text), [documents])
        self.operations = 2 * self.block_mask.area() * heads[0] * sum(dims)
        document = torch.repeat_interleave(
            torch.arange(len(documents)), torch.tensor(documents)).to(device)
        causal = lambda q, k: q >= k
        self.mask_mod = {
            "causal": lambda b, h, q, k: causal(q, k),
            "documents": lambda b, h, q, k: causal(q, k) & (document[q] == document[k]),
            "window": lambda b, h, q, k: causal(q, k) & (q - k < window),
            "irope": lambda b, h, q, k: causal(q, k) & (document[q] == document[k])
            & (q // chunk == k // chunk),
        }[mask]

    def draw(self, heads, dim, heads_first):
        shape = (1, heads, self.tokens, dim) if heads_first else (1, self.tokens, heads, dim)
        return torch.randn(shape, device=self.device, dtype=self.dtype)

    def synchronize(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def median_ms(self, run):
        times = []
        for i in range(13):
            if self.device == "cuda":
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                # The GPU is kept busy until all is queued, so that Python's time does not count.
                torch.cuda._sleep(2_000_000)
                begin.record()
                run()
                end.record()
                torch.cuda.synchronize()
                milliseconds = begin.elapsed_time(end)
            else:
                begin = time.perf_counter()
                run()
                milliseconds = 1e3 * (time.perf_counter() - begin)
            if i >= 3:
                times.append(milliseconds)
        return statistics.median(times)

    def rates(self, attend, heads_first=True, has_backward=True):
        """Forward's and backward's rate as text, and seconds until the first of both is done."""
        unit = 1e-9 if self.device == "cuda" else 1e-6
        heads, kv_heads = self.heads
        dim, value_dim = self.dims
        q, k, v = (self.draw(*size, heads_first).requires_grad_(has_backward)
                   for size in ((heads, dim), (kv_heads, dim), (kv_heads, value_dim)))
        grad = self.draw(heads, value_dim, heads_first)
        backward = lambda: torch.autograd.grad(out, (q, k, v), grad, retain_graph=True)
        start = time.time()
        out = attend(q, k, v)
        if has_backward:
            backward()
        self.synchronize()
        first = time.time() - start
        text = f"{self.operations / self.median_ms(lambda: attend(q, k, v)) * unit:.0f}"
        if has_backward:
            text += f" / {2.5 * self.operations / self.median_ms(backward) * unit:.0f}"
        return text, first

    def coeus(self):
        return self.rates(lambda q, k, v: torch.ops.coeus.attention(q, k, v, self.block_mask),
                          heads_first=False)[0]

    def flex(self, max_autotune):
        """Its rates, and seconds for its mask and first calls."""
        torch._dynamo.reset()
        mode = "max-autotune-no-cudagraphs" if max_autotune else None
        compiled = torch.compile(flex_attention, dynamic=False, mode=mode)
        start = time.time()
        block_mask = torch.compile(create_block_mask)(
            self.mask_mod, None, None, self.tokens, self.tokens, device=self.device)
        self.synchronize()
        mask_seconds = time.time() - start
        text, first = self.rates(
            lambda q, k, v: compiled(q, k, v, block_mask=block_mask,
                                     enable_gqa=self.heads[0] != self.heads[1]),
            has_backward=self.device == "cuda")
        return text, mask_seconds + first

    def sdpa(self):
        try:
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION) if self.device == "cuda" else nullcontext():
                return self.rates(lambda q, k, v: F.scaled_dot_product_attention(
                    q, k, v, is_causal=True, enable_gqa=self.heads[0] != self.heads[1]))[0]
        except RuntimeError as error:
            return "refused: " + str(error).strip().splitlines()[0][:60]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--max-autotune", action="store_true")
    parser.add_argument("--library", default=LIBRARY)
    parser.add_argument("--filter", default="")
    options = parser.parse_args()
    torch.ops.load_library(options.library)
    sdpa = "cuDNN" if options.device == "cuda" else "SDPA"
    print(f"| tokens | heads | dims | mask | coeus | FlexAttention | its first call, s | {sdpa} |")
    print("|---|---|---|---|---|---|---|---|")
    for tokens, heads, dims, masks in ROWS:
        for mask in masks:
            shape = ("/".join(map(str, sizes)) for sizes in (heads, dims))
            name = " ".join((str(tokens), *shape, mask))
            if options.filter not in name:
                continue
            case = Case(options.device, tokens, heads, dims, mask)
            flex, seconds = case.flex(options.max_autotune)
            cells = (f"{case.tokens:,}", *name.split()[1:], case.coeus(), flex, f"{seconds:.1f}",
                     case.sdpa() if mask == "causal" else "")
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
