"""Reader of efficiency.toml: what share of its peak an accelerator reaches in training.

In: the data file beside this module, an accelerator. Out: ranges with their sources. It measures
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from recipec.catalog.hardware import Accelerator
from recipec.catalog.support import read_table


@dataclass(frozen=True, kw_only=True)
class Range:
    """A lower and an upper end, and where they are from."""

    low: float
    high: float
    source: str


@cache
def _table() -> Mapping[str, Any]:
    return read_table("efficiency.toml")


def efficiency_of(accelerator: Accelerator, *, tensor: bool) -> Range:
    """Shares of the peak, on tensor cores or without them."""
    if not tensor:
        return _range("plain", "plain")
    capability = accelerator.compute_capability
    version = ".".join(map(str, capability)) if capability is not None else ""
    for name, row in _table().items():
        if version in row.get("capabilities", ()) or accelerator.kind in row.get("kinds", ()):
            return _range(name, "tensor")
    raise KeyError(f"efficiency.toml has no row for {accelerator.name}")


def cpu_flops(*, portable: bool) -> Range:
    """FLOP/s of one thread in float32."""
    found = _range("cpu", "portable_gflops" if portable else "native_gflops")
    return Range(low=found.low * 1e9, high=found.high * 1e9, source=found.source)


def launch_seconds() -> Range:
    """Seconds for each matrix of a model and pass over it: what no accelerator can shorten."""
    found = _range("launch", "microseconds")
    return Range(low=found.low / 1e6, high=found.high / 1e6, source=found.source)


def link_share(link: str) -> Range:
    """Shares of the bandwidth that collectives reach on `nvlink`, `pcie` or the `network`."""
    for name, row in _table().items():
        if link in row.get("links", ()):
            return _range(name, "share")
    raise KeyError(f"efficiency.toml has no row for {link} links")


def _range(name: str, key: str) -> Range:
    low, high = _table()[name][key]
    return Range(low=low, high=high, source=_table()[name]["source"])
