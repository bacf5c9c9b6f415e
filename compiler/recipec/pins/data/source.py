"""A data file's bytes: opened, decompressed, cut into lines.

In: a path in the project and its format. Out: chunks or lines of bytes, a bounded piece at a time.
It knows nothing of rows. What ends the reading of a file is raised as a RecipeError.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from recipec.errors import EnvironmentLacks, RecipeError
from recipec.pins.data.faults import Fault, whole
from recipec.recipe.formats import Format

CHUNK = 1 << 18
"""Bytes read at a time."""
LONGEST = 1 << 26
"""Bytes of the longest line or row: a quote that is never closed must not fill the memory."""
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data file: `path` relative to the project, `file` where it lies."""

    path: str
    file: Path
    format: Format
    digest: str
    size: int
    stamp: tuple[int, ...]
    """What `stamp_of` gave before the digest was taken."""


def stamp_of(file: Path) -> tuple[int, ...]:
    """What changes when a file does: its inode, size and times."""
    about = file.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def stop(path: str, message: str, hint: str = "") -> RecipeError:
    """The error that ends the reading of a file."""
    return RecipeError([whole(path, message, hint)])


def lines(source: Source) -> Generator[tuple[int, bytes], None, None]:
    """Number and bytes of each line, its end included; only a line feed ends one."""
    number = 0
    with readable(source, lambda: f"after line {number:,}"), opened(source) as stream:
        while line := stream.readline(LONGEST):
            number += 1
            if len(line) == LONGEST and not line.endswith(b"\n"):
                raise stop(
                    source.path,
                    f"line {number:,} is longer than {LONGEST >> 20} MiB",
                    "is the format right? `domain.data.format` names it",
                )
            yield number, line


def chunks(source: Source) -> Iterator[bytes]:
    """The bytes in pieces."""
    done = 0
    with readable(source, lambda: f"after {done:,} bytes"), opened(source) as stream:
        while data := stream.read(CHUNK):
            done += len(data)
            yield data


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """The file's decompressed bytes. Raises EnvironmentLacks without a zstd library."""
    if source.format.compression == "gzip":
        import gzip

        with gzip.open(source.file, "rb") as stream:
            yield cast(BinaryIO, stream)
    elif source.format.compression == "zstd":
        with _zstd(source.path).open(source.file, "rb") as stream:
            yield stream
    else:
        with source.file.open("rb", buffering=CHUNK) as stream:
            yield stream


@contextmanager
def readable(source: Source, where: Callable[[], str]) -> Iterator[None]:
    """Turns what decompressors raise into the error that ends the reading of the file."""
    name = source.format.compression
    try:
        yield
    except EOFError as error:
        message = f"the {name} data ends too early, {where()}"
        raise stop(source.path, message, "the file is cut: copy it again") from error
    except OSError as error:
        if error.errno is not None:
            raise stop(source.path, f"cannot be read: {error.strerror or error}") from error
        raise _damaged(source, where()) from error
    except Exception as error:
        if type(error).__name__ not in {"error", "ZstdError"}:  # zlib's, and either zstd library's
            raise
        raise _damaged(source, where()) from error


def _damaged(source: Source, where: str) -> RecipeError:
    message = f"not {source.format.compression} data, or damaged, {where}"
    return stop(source.path, message, "copy the file again, or name it by what it is")


def _zstd(path: str) -> Any:
    import importlib

    for name in ("compression.zstd", "backports.zstd"):  # CPython's own from 3.14 on
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise EnvironmentLacks(
        f"{path}: this Python cannot read zstd",
        hint="pip install backports.zstd, or use Python 3.14",
    )


def encoding_fault(line: bytes, number: int) -> Fault | None:
    """What is wrong with a line that should be UTF-8; None if it is."""
    if number == 1 and line.startswith(BOM):
        return Fault(
            message="the file starts with a byte order mark", hint="save it as UTF-8 without one"
        )
    if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Fault(message="the file is UTF-16", hint="save it as UTF-8")
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode("utf-8")) + 1
        message = f"byte 0x{line[error.start]:02x} is not UTF-8"
        return Fault(message=message, hint="save the file as UTF-8", column=column)
    return None
