"""Matrix products as MKL's interface gives them, and the ways around it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.operations.inputs import Case, Results, both, cast, numbers

MATRICES = (
    (3, 5, 7),
    (1, 48, 48),
    (13, 64, 50),
    (17, 31, 33),
    (48, 37, 48),
    (8, 16, 24),
    (16, 48, 192),
    (64, 64, 64),
    (128, 96, 256),
    (1000, 32, 8),
    (2, 32, 3000),
    (256, 384, 1536),
)
"""m, k, n of m x k by k x n: ragged, whole multiples of 8, tall, and one of MiniLM's size."""

BATCHES = ((4, 7, 8, 5), (16, 33, 16, 33), (8, 64, 32, 64), (32, 1, 16, 48))
LOW = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def matrices() -> Iterator[Case]:
    """Products of two matrices."""
    for m, k, n in MATRICES:
        size = f"{m}x{k}x{n}"
        a, b, bias = numbers(m, k), numbers(k, n, seed=1), numbers(n, seed=2)
        weight = b.t().contiguous()
        yield "mm", size, partial(both, torch.mm, a, b)
        yield "addmm (GPT-2's conv1d)", size, partial(both, torch.addmm, bias, a, b)
        yield "linear", size, partial(both, F.linear, a, weight, bias)
        for low, dtype in LOW.items():
            work = partial(both, cast(F.linear, dtype), a, weight, bias)
            yield f"linear, autocast {low}", size, work
        yield "mm by oneDNN", size, partial(by_onednn, a, b)
        yield "mm padded to 16", size, partial(both, padded, a, b)


def batches() -> Iterator[Case]:
    """Products of many matrices at once."""
    for count, m, k, n in BATCHES:
        size = f"{count}x{m}x{k}x{n}"
        a, b = numbers(count, m, k), numbers(count, k, n, seed=1)
        c = numbers(count, m, n, seed=2)
        yield "bmm", size, partial(both, torch.bmm, a, b)
        yield "baddbmm", size, partial(both, torch.baddbmm, c, a, b)
        turned = numbers(count, n, k, seed=1)
        yield "bmm, transposed", size, partial(both, _by_transposed, a, turned)
        for low, dtype in LOW.items():
            yield f"bmm, autocast {low}", size, partial(both, cast(torch.bmm, dtype), a, b)
        yield "bmm by oneDNN, one by one", size, partial(each_by_onednn, a, b)
    a, b = numbers(64, 32), numbers(4, 32, 48, seed=1)
    yield "grouped mm (experts)", "4x(64x32x48)", partial(both, _grouped, a, b)


def _by_transposed(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.transpose(1, 2)


def _grouped(a: Tensor, b: Tensor) -> Tensor:
    ends = torch.tensor([5, 5, 40, 64], dtype=torch.int32)
    return F.grouped_mm(a, b, offs=ends)


def onednn(a: Tensor, b: Tensor) -> Tensor:
    """a x b by oneDNN, whatever torch would choose for it."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
    return product


def by_onednn(a: Tensor, b: Tensor) -> Results:
    """a x b and both gradients."""
    gradient = numbers(len(a), b.shape[1], seed=99)
    gradients = [onednn(gradient, b.t()), onednn(a.t(), gradient)]
    return {"forward": [onednn(a, b)], "backward": gradients}


def each_by_onednn(a: Tensor, b: Tensor) -> Results:
    """Every a x b of a batch."""
    return {"forward": [onednn(x, y) for x, y in zip(a, b, strict=True)]}


def padded(a: Tensor, b: Tensor) -> Tensor:
    """a x b, every side padded with zeros to a multiple of 16."""
    m, k, n = (-side % 16 for side in (a.shape[0], a.shape[1], b.shape[1]))
    whole = F.pad(a, (0, k, 0, m)) @ F.pad(b, (0, n, 0, k))
    return whole[: a.shape[0], : b.shape[1]]
