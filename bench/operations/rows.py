"""Reductions, normalisations, losses and attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.operations.inputs import Case, Results, both, cast, numbers
from bench.operations.products import LOW

ROWS = ((3, 7), (4, 33), (16, 64), (32, 384), (2, 5000))


WHOLE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: x.softmax(-1),
    "softmax, bfloat16": lambda x: x.bfloat16().softmax(-1).float(),
    "log_softmax": lambda x: x.log_softmax(-1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "sum": lambda x: x.sum(),
    "sum, rows": lambda x: x.sum(-1),
    "sum, columns": lambda x: x.sum(0),
    "mean": lambda x: x.mean(-1),
    "var": lambda x: x.var(-1),
    "norm": lambda x: torch.linalg.vector_norm(x, dim=-1),
    "cumsum": lambda x: x.cumsum(-1),
    "bce with logits": lambda x: F.binary_cross_entropy_with_logits(x, (x.detach() > 0).float()),
}


def rows() -> Iterator[Case]:
    """Reductions, normalisations and losses along rows."""
    for count, n in ROWS:
        x, size = numbers(count, n), f"{count}x{n}"
        weight, bias = numbers(n, seed=3), numbers(n, seed=4)
        for name, function in WHOLE.items():
            yield name, size, partial(both, function, x)
        for dtype, tail in ((torch.float32, ""), (torch.bfloat16, ", bfloat16")):
            given = [t.to(dtype) for t in (x, weight, bias)]
            yield f"layer_norm{tail}", size, partial(both, _layer_norm, *given)
            yield f"rms_norm{tail}", size, partial(both, _rms_norm, *given[:2])
        target = torch.arange(count) * 7 % n
        target[0] = -100
        for smoothing in (0.0, 0.1):
            loss = partial(
                F.cross_entropy, target=target, reduction="sum", label_smoothing=smoothing
            )
            yield "cross_entropy", f"{size}, smoothing {smoothing:g}", partial(both, loss, x)
        yield "lerp (EMA)", size, partial(both, _moved, x, weight)


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x, weight.shape, weight, bias)


def _rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, 1e-6)


def _moved(x: Tensor, to: Tensor) -> Tensor:
    return torch.lerp(x, to, 0.01)


def attention() -> Iterator[Case]:
    """Scaled dot-product attention: both kernels, masks and dropout."""
    kernels = {"math": SDPBackend.MATH, "flash": SDPBackend.FLASH_ATTENTION}
    for heads, length, width in ((2, 7, 8), (4, 33, 16), (2, 128, 64)):
        inputs = [numbers(2, heads, length, width, seed=s) for s in range(3)]
        late = torch.arange(length) > length // 2
        mask = torch.zeros(2, 1, length, length).masked_fill(late, -math.inf)
        settings: dict[str, dict[str, Any]] = {
            "plain": {},
            "causal": {"is_causal": True},
            "masked": {"attn_mask": mask},
            "dropout": {"dropout_p": 0.1},
        }
        shape = f"2x{heads}x{length}x{width}"
        for kernel, backend in kernels.items():
            for name, given in settings.items():
                if (kernel, name) != ("flash", "dropout"):  # torch takes the math path then
                    work = partial(attend, backend, given, inputs)
                    yield f"sdpa, {kernel}", f"{name}, {shape}", work
        for low, dtype in LOW.items():
            function = cast(F.scaled_dot_product_attention, dtype)
            yield f"sdpa, {low}", shape, partial(both, function, *[i.to(dtype) for i in inputs])


def attend(backend: SDPBackend, given: Mapping[str, Any], inputs: Sequence[Tensor]) -> Results:
    """Attention by one kernel; dropout is drawn anew from the same seed."""
    torch.manual_seed(1)
    with sdpa_kernel(backend):
        return both(partial(F.scaled_dot_product_attention, **given), *inputs)
