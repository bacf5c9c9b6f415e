"""Keeps bitsandbytes to one way of computing, on every CPU and in every phase.

In: nothing. Out: a bitsandbytes that unpacks 4-bit weights alike and rightly on all CPUs, and whose
layers made from here on stay as they are. It quantizes nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def plain_kernels() -> None:
    """Let no 4-bit layer depend on the kind of CPU. Call before a model is made.

    Of bitsandbytes 0.50.2 two things are replaced, on CPUs only:

    - Its 4-bit kernel is chosen by the CPU, and the one for AVX-512 unpacks wrongly where a block
      of weights goes over the end of a row (docs/portability.md). `unpack` calls it for no others.
    - On a CPU with AVX512-BF16 it packs a layer's weights at its first evaluation and computes in
      bfloat16 from then on: other numbers than on other CPUs, and no gradient in the steps after.
    """
    modules: Any = import_module("bitsandbytes.nn.modules")
    modules.has_avx512bf16 = lambda: False
    _replace()


@cache
def _replace() -> Any:
    """The registration of `unpack`; it ends with the object, so it is kept."""
    import warnings

    import torch

    library = torch.library.Library("bitsandbytes", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")
        library.impl("dequantize_4bit", unpack, "CPU")
    return library


def unpack(
    packed: torch.Tensor,
    scales: torch.Tensor,
    blocksize: int,
    kind: str,
    shape: Sequence[int],
    dtype: torch.dtype,
) -> torch.Tensor:
    """The weights, of `shape` and `dtype`, of 4-bit codes: a table's value times its block's scale.

    `packed` has any shape and holds two codes in a byte, the first in the upper half; `scales` is
    `(blocks,)`, of the flattened weights; `kind` is `nf4` or `fp4`. A single product in float32,
    so every CPU gives the same, and bitsandbytes' kernel, too, where it is right.
    """
    import torch

    # Of fp4's two zeros it gives one or the other, by the CPU.
    if kind == "nf4" and dtype == torch.float32 and shape and shape[-1] % blocksize == 0:
        kernel = _kernel()
        if kernel is not None:
            weights = torch.empty(list(shape), dtype=dtype)
            packed, scales = packed.contiguous(), scales.float().contiguous()
            rows = weights.numel() // shape[-1]
            tensors = (packed, scales, weights)
            numbers = (blocksize, rows, shape[-1])
            kernel(*(one.data_ptr() for one in tensors), *numbers)
            return weights
    return unpack_plainly(packed, scales, blocksize, kind, shape, dtype)


@cache
def _kernel() -> Any:
    """bitsandbytes' function for nf4; None where it has no library for this CPU."""
    import ctypes

    library = getattr(import_module("bitsandbytes.cextension").lib, "_lib", None)
    name = "cdequantize_blockwise_cpu_nf4_fp32"
    if not isinstance(library, ctypes.CDLL) or not hasattr(library, name):
        return None
    kernel = library[name]
    kernel.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_longlong] * 3
    kernel.restype = None
    return kernel


def unpack_plainly(
    packed: torch.Tensor,
    scales: torch.Tensor,
    blocksize: int,
    kind: str,
    shape: Sequence[int],
    dtype: torch.dtype,
) -> torch.Tensor:
    """As `unpack`, by PyTorch's own operations, for blocks of any size."""
    import torch
    from bitsandbytes.backends.utils import _get_4bit_code

    table = _get_4bit_code(kind, packed.device)
    codes = packed.contiguous().view(torch.uint8).reshape(-1).int()
    values = torch.cartesian_prod(table, table).index_select(0, codes).reshape(-1)[: prod(shape)]
    scales = scales.float()
    if values.numel() % blocksize == 0:
        weights = values.view(-1, blocksize) * scales.view(-1, 1)
    else:
        weights = values * scales.repeat_interleave(blocksize)[: values.numel()]
    return weights.reshape(list(shape)).to(dtype)
