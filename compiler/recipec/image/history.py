"""What an image's history says of its layers.

In: the config's `history`, as `recipec.image.config` writes it and other builders do. Out: kind and
name of each layer, and the packages that a name lists. It reads no layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEAD = "recipec: "


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a layer came from: `kind` as in `recipec.image.image.Layer`, empty if not ours."""

    kind: str
    name: str

    @property
    def packages(self) -> tuple[tuple[str, str], ...]:
        """Name and version of each wheel in the layer; none for layers of another kind."""
        if self.kind not in ("wheel", "wheels"):
            return ()
        rows = (part.rpartition(" ") for part in self.name.split(", "))
        return tuple((name, version) for name, space, version in rows if space)

    @property
    def shown(self) -> str:
        """Kind and name in words."""
        return f"{self.kind} {self.name}".strip()


def origins(config: Mapping[str, Any]) -> tuple[Origin, ...]:
    """One origin for each of the config's diff_ids, from the lowest layer up."""
    count = len(config["rootfs"]["diff_ids"])
    rows = [row for row in config.get("history") or () if not row.get("empty_layer")]
    said = [_origin(row) for row in rows[:count]]
    return (*said, *(Origin(kind="", name="") for _ in range(count - len(said))))


def _origin(row: Mapping[str, Any]) -> Origin:
    text = str(row.get("created_by") or row.get("comment") or "")
    if not text.startswith(LEAD):
        return Origin(kind="", name=text)
    kind, _, name = text.removeprefix(LEAD).partition(": ")
    return Origin(kind=kind, name=name)


def layer_of_package(layers: Sequence[tuple[str, Origin]], name: str) -> str | None:
    """The digest of the layer whose name lists the wheel `name`, or None."""
    for digest, origin in layers:
        if any(listed == name for listed, _ in origin.packages):
            return digest
    return None
