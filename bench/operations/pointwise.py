"""Functions of one number, and the ways around MKL's vector functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.operations.inputs import Case, both, numbers

VECTORS = ((5,), (16,), (33, 7), (64, 128), (3, 1000))

POINTWISE: Mapping[str, tuple[Callable[[Tensor], Tensor], float, float]] = {
    "exp": (torch.exp, -20, 5),
    "log": (torch.log, 1e-6, 50),
    "sqrt": (torch.sqrt, 0.01, 9),
    "rsqrt": (torch.rsqrt, 0.01, 9),
    "erf": (torch.erf, -3, 3),
    "erfinv": (torch.erfinv, -0.99, 0.99),
    "tanh": (torch.tanh, -5, 5),
    "sin": (torch.sin, -300, 300),
    "cos": (torch.cos, -300, 300),
    "sigmoid": (torch.sigmoid, -9, 9),
    "log1p": (torch.log1p, -0.5, 5),
    "expm1": (torch.expm1, -5, 3),
    "softplus": (F.softplus, -9, 9),
    "logsigmoid": (F.logsigmoid, -9, 9),
    "silu": (F.silu, -9, 9),
    "relu": (F.relu, -3, 3),
    "gelu": (F.gelu, -5, 5),
    "gelu, tanh": (lambda x: F.gelu(x, approximate="tanh"), -5, 5),
    "pow 2": (lambda x: x.pow(2), -3, 3),
    "pow 3": (lambda x: x.pow(3), -3, 3),
    "pow -0.5": (lambda x: x.pow(-0.5), 0.01, 9),
    "pow 0.8": (lambda x: x.pow(0.8), 0.01, 9),
    "power of a scalar (RoPE)": (lambda x: 10000.0**x, 0, 1),
    "reciprocal": (torch.reciprocal, 0.01, 9),
    # ways around MKL's vector functions
    "exp in 64 bits": (lambda x: x.double().exp().float(), -20, 5),
    "exp as pow": (lambda x: torch.pow(math.e, x), -20, 5),
    "log in 64 bits": (lambda x: x.double().log().float(), 1e-6, 50),
    "log as xlogy": (lambda x: torch.xlogy(1.0, x), 1e-6, 50),
    "sqrt as pow": (lambda x: x.pow(0.5), 0.01, 9),
    "sqrt in 64 bits": (lambda x: x.double().sqrt().float(), 0.01, 9),
    "erf in 64 bits": (lambda x: x.double().erf().float(), -3, 3),
    "tanh in 64 bits": (lambda x: x.double().tanh().float(), -5, 5),
    "tanh of sigmoid": (lambda x: 2 * torch.sigmoid(2 * x) - 1, -5, 5),
    "sin in 64 bits": (lambda x: x.double().sin().float(), -300, 300),
    "sin and cos by polar": (
        lambda x: torch.view_as_real(torch.polar(torch.ones_like(x), x)),
        -300,
        300,
    ),
}


def pointwise() -> Iterator[Case]:
    """Every function on contiguous and on strided tensors."""
    for name, (function, low, high) in POINTWISE.items():
        for shape in VECTORS:
            x = numbers(*shape, low=low, high=high)
            size = "x".join(map(str, shape))
            yield name, size, partial(both, function, x)
            if name in ("gelu", "silu", "tanh", "exp"):
                yield f"{name}, bfloat16", size, partial(both, function, x.bfloat16())
        strided = numbers(64, 66, low=low, high=high).t()
        yield name, "66x64, strided", partial(both, function, strided)
