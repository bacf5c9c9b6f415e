"""The bytes of a blob as bodies of requests.

In: a file of the store. Out: slices of it that an upload can send, and send again. Other places
that a blob may be sent from have the same shape (`recipec.publish.relay`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from recipec.errors import HashMismatch
from recipec.image.image import Descriptor
from recipec.publish.wire import Body
from recipec.store import digest_of_file


class Slice(Body, Protocol):
    """A part of a blob as a request's body, to be closed."""

    def __enter__(self) -> Slice:
        """Itself."""
        ...

    def __exit__(self, *about: object) -> None:
        """Close it."""
        ...


class Content(Protocol):
    """The bytes of a blob, wherever they are."""

    def part(self, start: int, size: int, sent: Callable[[int], None]) -> Slice:
        """A slice; `sent` is told how far of the blob has been read."""
        ...

    def check(self) -> None:
        """Raise HashMismatch if the bytes are not the digest's."""
        ...


class FileContent:
    """A blob's bytes in a file of the store."""

    def __init__(self, path: Path, blob: Descriptor) -> None:
        self._path = path
        self._blob = blob

    def part(self, start: int, size: int, sent: Callable[[int], None]) -> Part:
        """A slice of the file."""
        return Part(self._path, start, size, sent)

    def check(self) -> None:
        """Raise HashMismatch if it is our file whose bytes are not the digest's."""
        found = digest_of_file(self._path)
        if found != self._blob.digest:
            raise HashMismatch(
                "a blob of the cache",
                expected=self._blob.digest,
                found=found,
                hint="run `recipec cache verify`, then build again",
            )


class Part:
    """A slice of a file as a request's body; tells how far it has been sent."""

    def __init__(self, path: Path, start: int, size: int, sent: Callable[[int], None]) -> None:
        self._file = path.open("rb", buffering=0)
        self._start = start
        self._size = size
        self._sent = sent
        self.rewind()

    def rewind(self) -> None:
        """Begin anew."""
        self._file.seek(self._start)
        self._left = self._size

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the slice."""
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self._sent(self._start + self._size - self._left)
        return data

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *about: object) -> None:
        self._file.close()
