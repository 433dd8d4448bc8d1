#!/usr/bin/env python3
"""Trains a Llama of debugmodel's sizes in plain PyTorch eager on a CPU and prints tokens/s of each step.

usage: pytorch_eager.py [--steps N] [--batch B] [--seq-len S]
The yardstick for coeus's rate on the same machine: run both and compare the medians of the later
steps. Written as such models are in eager PyTorch: separate projections, complex-number rotary
embedding, F.scaled_dot_product_attention, F.rms_norm, fused AdamW, float32. Needs torch 2.11.0.
"""
import argparse
import time

import torch
import torch.nn.functional as F
from torch import nn

DIM, LAYERS, HEADS, HIDDEN, VOCAB = 256, 6, 16, 768, 2048


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(DIM, DIM, bias=False) for _ in range(4))
        self.w1, self.w3 = (nn.Linear(DIM, HIDDEN, bias=False) for _ in range(2))
        self.w2 = nn.Linear(HIDDEN, DIM, bias=False)
        self.attention_norm, self.ffn_norm = nn.RMSNorm(DIM, eps=1e-5), nn.RMSNorm(DIM, eps=1e-5)

    def rotate(self, x, angles):
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * angles[None, :, None]).flatten(3).type_as(x)

    def forward(self, x, angles):
        h = self.attention_norm(x)
        q, k, v = (w(h).unflatten(-1, (HEADS, -1)) for w in (self.wq, self.wk, self.wv))
        q, k = self.rotate(q, angles), self.rotate(k, angles)
        out = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)), is_causal=True)
        x = x + self.wo(out.transpose(1, 2).flatten(2))
        h = self.ffn_norm(x)
        return x + self.w2(F.silu(self.w1(h)) * self.w3(h))


class Llama(nn.Module):
    def __init__(self, seq_len):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, DIM)
        self.layers = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.output = nn.RMSNorm(DIM, eps=1e-5), nn.Linear(DIM, VOCAB, bias=False)
        freqs = 5e5 ** (-torch.arange(0, DIM // HEADS, 2) / (DIM // HEADS))
        self.angles = torch.polar(torch.ones(1), torch.outer(torch.arange(seq_len), freqs))

    def forward(self, tokens):
        h = self.embedding(tokens)
        for layer in self.layers:
            h = layer(h, self.angles)
        return self.output(self.norm(h))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--batch", type=int, default=2)
    p.add_argument("--seq-len", type=int, default=512)
    a = p.parse_args()
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    model = Llama(a.seq_len)
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    rates = []
    for _ in range(a.steps):
        start = time.perf_counter()
        x = torch.randint(0, VOCAB, (a.batch, a.seq_len + 1))
        optimizer.zero_grad()
        logits = model(x[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1).float(), x[:, 1:].flatten())
        del logits
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        rates.append(a.batch * a.seq_len / (time.perf_counter() - start))
    later = sorted(rates[len(rates) // 3:])
    print(f"{torch.get_num_threads()} threads, median of the last two thirds: {later[len(later) // 2]:,.0f} tokens/s")


if __name__ == "__main__":
    main()
