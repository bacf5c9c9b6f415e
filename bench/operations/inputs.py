"""Inputs that are the same on every CPU, and what a case is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Results = Mapping[str, Sequence[Tensor]]
"""Tensors by phase: forward, and backward where there is one."""

Work = Callable[[], Results]
"""One case, from its inputs to its results; called again it does the same."""

Case = tuple[str, str, Work]
"""Name of the operation, its shape or setting, and the work."""


def numbers(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> Tensor:
    """Floats between `low` and `high` with full mantissas, made without rounding twice."""
    generator = torch.Generator().manual_seed(1000 + seed)
    whole = torch.randint(0, 2**23, shape, generator=generator)
    return (low + whole.double() * ((high - low) / 2**23)).float()


def both(function: Callable[..., Tensor], *inputs: Tensor) -> Results:
    """The result of a differentiable function, and the gradients of its floating inputs."""
    leaves = [i.detach().clone().requires_grad_(i.is_floating_point()) for i in inputs]
    out = function(*leaves)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    gradient = numbers(*out.shape, seed=99).to(out.dtype)
    return {"forward": [out], "backward": torch.autograd.grad(out, wanted, gradient)}


def cast(function: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    """The function under autocast, its result in 32 bits again."""

    def run(*inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=dtype):
            return function(*inputs).float()

    return run
