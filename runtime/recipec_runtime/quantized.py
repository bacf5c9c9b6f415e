"""Keeps bitsandbytes to one way of computing, on every CPU and in every phase.

In: nothing. Out: a bitsandbytes whose 4-bit layers made from here on stay as they are. It quantizes
nothing itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def plain_kernels() -> None:
    """Keep 4-bit layers from being packed for CPUs with AVX512-BF16. Call before a model is made.

    On such a CPU bitsandbytes 0.50 packs a layer's weights at its first evaluation and computes in
    bfloat16 from then on: other numbers than on other CPUs, and no gradient in the steps after.
    """
    modules: Any = import_module("bitsandbytes.nn.modules")
    modules.has_avx512bf16 = lambda: False
