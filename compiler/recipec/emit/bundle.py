"""The bundle: every text that a plan turns into, by sorted path.

In: bytes by relative path. Out: an immutable mapping and its digest. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recipec.store import canonical, sha256


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Emitted files: relative POSIX path to bytes, sorted by path."""

    files: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Bundle:
        """A bundle of these files, in sorted order."""
        return cls(files=tuple(sorted(files.items())))

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return iter(self.files)

    def __getitem__(self, path: str) -> bytes:
        return dict(self.files)[path]

    @property
    def digest(self) -> str:
        """One digest over every path and its bytes."""
        return sha256(canonical({path: sha256(data) for path, data in self.files}))
