#!/usr/bin/env python3
"""libcoeus_operators.so in a Python process: what docs/python.md promises.

    tests/python/operators_test.py build/libcoeus_operators.so

Ends with 77, which CTest counts as skipped, where Python has no PyTorch 2.11.
"""

import copy
import pathlib
import re
import sys
import unittest

try:
    import torch
    import torch.nn.functional as F
except Exception as error:  # A torch whose libraries are not all there fails in many ways.
    print(f"skipped: {sys.executable} imports no torch ({error})")
    sys.exit(77)
if not torch.__version__.startswith("2.11."):
    print(f"skipped: {sys.executable} has torch {torch.__version__}, coeus is built with 2.11")
    sys.exit(77)

LIBRARY = str(pathlib.Path(sys.argv.pop(1)).resolve())
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python.md"
torch.ops.load_library(LIBRARY)
Mask = torch.classes.coeus.Mask
ops = torch.ops.coeus

LENGTHS = [[90, 110], [200]]


def inputs(dtype=torch.double, heads=4, kv_heads=2, tokens=200, dim=16):
    torch.manual_seed(1)
    draw = lambda n: torch.randn(2, tokens, n, dim, dtype=dtype, requires_grad=True)
    return draw(heads), draw(kv_heads), draw(kv_heads)


def by_pytorch(q, k, v, visible, **options):
    """PyTorch's own attention under a dense mask, in coeus's order of dimensions."""
    heads_first = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(
        *heads_first, attn_mask=visible.unsqueeze(1), enable_gqa=True, **options).transpose(1, 2)


class Masks(unittest.TestCase):
    def test_combine_compare_and_print(self):
        mask = Mask("causal") & ~(Mask("document") | Mask("chunk(4)"))
        self.assertEqual(str(mask), "causal & ~(document | chunk(4))")
        self.assertEqual(repr(mask), 'Mask("causal & ~(document | chunk(4))")')
        self.assertEqual(mask, Mask(str(mask)))
        self.assertNotEqual(mask, Mask("causal"))
        self.assertEqual(str(Mask("document & causal & full").simplified()), "causal & document")
        self.assertEqual(copy.deepcopy(mask), mask)

    def test_lowered_show_what_pytorch_computes_from_the_same_documents(self):
        numbers = torch.tensor([[0] * 90 + [1] * 110, [0] * 200])
        place = torch.arange(200)
        visible = (numbers[:, :, None] == numbers[:, None, :]) & (place[:, None] >= place)
        for documents in (LENGTHS, numbers, numbers.int()):
            block_mask = ops.lower(Mask("causal & document"), documents)
            self.assertTrue(torch.equal(block_mask.to_dense(), visible))
            self.assertEqual(block_mask.area(), visible.sum())
            self.assertAlmostEqual(block_mask.sparsity(), 1 - visible.double().mean().item())

    def test_lowered_for_some_of_the_tokens(self):
        mask = Mask("causal & document")
        whole = ops.lower(mask, LENGTHS)
        cached = ops.lower(mask, LENGTHS, queries=torch.tensor([199]))
        self.assertTrue(torch.equal(cached.to_dense(), whole.to_dense()[:, 199:]))
        self.assertTrue(torch.equal(whole.slice_queries(199, 200).to_dense(), cached.to_dense()))
        order = torch.stack([torch.randperm(200), torch.randperm(200)])
        shuffled = ops.lower(mask, LENGTHS, queries=order, keys=order).to_dense()
        for row in range(2):
            self.assertTrue(torch.equal(
                shuffled[row], whole.to_dense()[row][order[row]][:, order[row]]))


class Attention(unittest.TestCase):
    def test_is_pytorchs_under_the_dense_mask(self):
        block_mask = ops.lower(Mask("causal & document & sliding_window(50)"), LENGTHS)
        q, k, v = inputs()
        grad = torch.randn_like(q)
        want = by_pytorch(q, k, v, block_mask.to_dense(), scale=0.3)
        want_grads = torch.autograd.grad(want, (q, k, v), grad)
        for engine in ("auto", "reference", "block_sparse"):
            out = ops.attention(q, k, v, block_mask, scale=0.3, engine=engine)
            torch.testing.assert_close(out, want)
            grads = torch.autograd.grad(out, (q, k, v), grad)
            for got, wanted in zip(grads, want_grads):
                torch.testing.assert_close(got, wanted)

    def test_takes_the_usual_scale_and_gives_the_lse(self):
        block_mask = ops.lower(Mask("causal"), LENGTHS)
        q, k, v = inputs(torch.float)
        out, lse = ops.attention_with_lse(q, k, v, block_mask)
        torch.testing.assert_close(out, by_pytorch(q, k, v, block_mask.to_dense()))
        torch.testing.assert_close(out, ops.attention(q, k, v, block_mask))
        # The first token sees itself alone.
        torch.testing.assert_close(lse[:, 0, 0], (q[:, 0, 0] * k[:, 0, 0]).sum(-1) / 4)

    def test_under_autocast_computes_in_the_type_of_q(self):
        block_mask = ops.lower(Mask("causal"), LENGTHS)
        q, k, v = inputs(torch.float)
        attend = lambda: ops.attention(q, k, v, block_mask, engine="reference")
        with torch.autocast("cpu", torch.bfloat16):
            out = attend()
        self.assertTrue(torch.equal(out, attend()))

    def test_is_an_operator_that_pytorch_can_check(self):
        block_mask = ops.lower(Mask("causal & document"), LENGTHS)
        for engine in ("reference", "sdpa", "block_sparse"):
            # The other checks look into every argument, or copy it, which a BlockMask does not take.
            torch.library.opcheck(
                ops.attention_with_lse.default, (*inputs(torch.float), block_mask),
                {"engine": engine}, test_utils=("test_autograd_registration", "test_faketensor"))

    def test_stands_between_graphs_of_torch_compile(self):
        attend = lambda q, k, v, block_mask: 2 * ops.attention(2 * q, k, v, block_mask)
        compiled = torch.compile(attend, backend="aot_eager")
        q, k, v = inputs()
        for text in ("causal & document", "causal & sliding_window(9)"):
            block_mask = ops.lower(Mask(text), LENGTHS)
            out, want = (f(q, k, v, block_mask) for f in (compiled, attend))
            torch.testing.assert_close(out, want)
            for got, wanted in zip(*(torch.autograd.grad(x.sum(), (q, k, v)) for x in (out, want))):
                torch.testing.assert_close(got, wanted)

    def test_complains_as_coeus_does(self):
        block_mask = ops.lower(Mask("causal"), LENGTHS)
        q, k, v = inputs()
        with self.assertRaisesRegex(RuntimeError, r"\[mask\] column 10: .*'document'"):
            Mask("causal & documnt")
        with self.assertRaisesRegex(RuntimeError, r"\[attention\] the mask is for 2 rows of 200"):
            ops.attention(q[:, :9], k, v, block_mask)
        with self.assertRaisesRegex(RuntimeError, "use auto, reference"):
            ops.attention(q, k, v, block_mask, engine="fast")


class Page(unittest.TestCase):
    def test_example_runs(self):
        examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
        self.assertEqual(len(examples), 1)
        exec(examples[0].replace("build/libcoeus_operators.so", LIBRARY), {})


if __name__ == "__main__":
    unittest.main()
