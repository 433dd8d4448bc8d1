#!/usr/bin/env python3
"""Attention on one GPU beside PyTorch's: FlexAttention, compiled, and cuDNN by SDPA.

    bench/attention_vs_flex.py [--max-autotune] [--program build/attention_device_check] [--filter "8192 32/8"]

Times coeus's kernels (ninja -C build bench_cuda) and PyTorch's on the same machine, one after the
other, with the same documents, and prints a table: TFLOP/s over the mask's true area, forward and
backward (2.5 times forward), medians of ten runs after three. "first call" is what FlexAttention
takes to build its mask and compile, forward and backward.
"""

import argparse
import re
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

WINDOW = 1024
CHUNK = 2048


def pieces(documents, chunk):
    """The runs of tokens that see each other: documents, cut at multiples of `chunk`."""
    begin = 0
    for length in documents:
        end = begin + length
        while begin < end:
            stop = min(end, (begin // chunk + 1) * chunk) if chunk else end
            yield stop - begin
            begin = stop


def area(mask, tokens, documents):
    triangle = lambda n: n * (n + 1) // 2
    return {
        "causal": lambda: triangle(tokens),
        "documents": lambda: sum(triangle(n) for n in documents),
        "window": lambda: sum(min(i + 1, WINDOW) for i in range(tokens)),
        "irope": lambda: sum(triangle(n) for n in pieces(documents, CHUNK)),
    }[mask]()


def mask_mod(mask, documents):
    document = torch.repeat_interleave(
        torch.arange(len(documents)), torch.tensor(documents)).to("cuda")
    causal = lambda q, k: q >= k
    return {
        "causal": lambda b, h, q, k: causal(q, k),
        "documents": lambda b, h, q, k: causal(q, k) & (document[q] == document[k]),
        "window": lambda b, h, q, k: causal(q, k) & (q - k < WINDOW),
        "irope": lambda b, h, q, k: causal(q, k) & (document[q] == document[k])
        & (q // CHUNK == k // CHUNK),
    }[mask]


def median_ms(run):
    times = []
    for i in range(13):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        if i >= 3:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def rates(attend, tokens, heads, kv_heads, dim, value_dim, work):
    """Forward's and backward's TFLOP/s, and seconds until the first of both is done."""
    draw = lambda count, width: torch.randn(
        1, count, tokens, width, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    q, k, v = draw(heads, dim), draw(kv_heads, dim), draw(kv_heads, value_dim)
    grad = torch.randn(1, heads, tokens, value_dim, device="cuda", dtype=torch.bfloat16)
    start = time.time()
    out = attend(q, k, v)
    torch.autograd.grad(out, (q, k, v), grad, retain_graph=True)
    torch.cuda.synchronize()
    first = time.time() - start
    forward = median_ms(lambda: attend(q, k, v))
    backward = median_ms(
        lambda: torch.autograd.grad(out, (q, k, v), grad, retain_graph=True))
    return work / forward * 1e-9, 2.5 * work / backward * 1e-9, first


def attempt(*arguments):
    try:
        return "{:.0f} / {:.0f}".format(*rates(*arguments)[:2])
    except RuntimeError as error:
        return "refused: " + str(error).strip().splitlines()[0][:60]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-autotune", action="store_true")
    parser.add_argument("--program", default="build/attention_device_check")
    parser.add_argument("--filter", default="")
    options = parser.parse_args()
    printed = subprocess.run([options.program, "--time", "--filter", options.filter], check=True,
                             capture_output=True, text=True).stdout
    print("| tokens | heads | dims | mask | coeus | FlexAttention | its first call, s | cuDNN |")
    print("|---|---|---|---|---|---|---|---|")
    for line in printed.splitlines():
        if not re.match(r"\| \d", line):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        tokens, mask = int(cells[0]), cells[3]
        heads, kv_heads = map(int, cells[1].split("/"))
        dim, value_dim = map(int, cells[2].split("/"))
        documents = list(map(int, subprocess.run(
            [options.program, "--documents", str(tokens)], check=True, capture_output=True,
            text=True).stdout.split()))
        work = 2 * area(mask, tokens, documents) * heads * (dim + value_dim)
        shape = (tokens, heads, kv_heads, dim, value_dim, work)
        torch._dynamo.reset()
        mode = "max-autotune-no-cudagraphs" if options.max_autotune else None
        compiled = torch.compile(flex_attention, dynamic=False, mode=mode)
        start = time.time()
        block_mask = torch.compile(create_block_mask)(
            mask_mod(mask, documents), None, None, tokens, tokens, device="cuda")
        torch.cuda.synchronize()
        mask_seconds = time.time() - start
        forward, backward, first = rates(
            lambda q, k, v: compiled(q, k, v, block_mask=block_mask, enable_gqa=heads != kv_heads),
            *shape)
        cudnn = ""
        if mask == "causal":
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
                cudnn = attempt(lambda q, k, v: F.scaled_dot_product_attention(
                    q, k, v, is_causal=True, enable_gqa=heads != kv_heads), *shape)
        print(f"| {tokens:,} | {cells[1]} | {cells[2]} | {mask} | {cells[6]} / {cells[8]} | "
              f"{forward:.0f} / {backward:.0f} | {mask_seconds + first:.1f} | {cudnn} |", flush=True)


if __name__ == "__main__":
    main()
