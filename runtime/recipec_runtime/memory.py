"""How memory is handed out while a loop runs: what a step has freed is kept for the next one.

In: nothing. Out: settings of this process. Neither of them changes a byte of any result.
"""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt(3), by their numbers in <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_LARGE = 128 << 10
"""Bytes; glibc's own threshold before it begins to move it."""


def settle(*, gathers: bool = False) -> None:
    """Set the allocators up for steps that are all alike. Call it once the model is there.

    glibc gives every freed block of more than 32 MiB back to the kernel, as the logits of a large
    vocabulary are, and the next step gets it again zeroed, a page at a time: 4% of a step of LoRA
    on 135M parameters. With another C library nothing is set.

    With FSDP a process `gathers` blocks of other sizes at every step, which would leave holes that
    nothing fits into: then large blocks go back, or a process would take half as much again.

    Deterministic torch writes NaN over new tensors, so that a kernel that reads before it writes is
    found out. Models are made under that guard; the kernels of a step write all that they return.
    """
    import torch

    torch.utils.deterministic.fill_uninitialized_memory = False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        if gathers:
            mallopt(_M_MMAP_THRESHOLD, _LARGE)
        else:
            mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
