"""What files an image of a registry has, layer by layer, as far as somebody asks.

In: layers as gzip blobs, each had only when a path is not settled by those above it. Out: entries
by path, and paths with every symbolic link followed. Whiteouts of upper layers hide what is below
(OCI image-spec 1.1, layer.md, "Representing Changes"). Each layer is read once from front to back
and must have its diff_id. Of files, only what tells of a Python is kept. It unpacks nothing.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from recipec.errors import HashMismatch, UnusableBase
from recipec.pins.lockfile import BaseLayer
from recipec.tarstream import TarStream

HEAD = 64 << 10
"""Bytes of a program that are kept: its header and the name of its loader are in them."""
_LARGEST_LIBC = 16 << 20
_MOST_ENTRIES = 4_000_000
_MOST_LINKS = 40
"""Symbolic links on one way, as Linux counts them."""
_PROGRAM = re.compile(r"python[\w.-]*")
_LIBC = re.compile(r"libc\.so\.6|libc-2\.\d+\.so")
_GLIBC = re.compile(rb"GNU C Library [^\n]{0,200}release version (\d+\.\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One thing in a layer. `fact` is a program's head, the version in a libc, a venv's settings;
    empty for every other file."""

    kind: Literal["file", "folder", "link", "other"]
    mode: int
    target: str = ""
    fact: bytes = b""


@dataclass(kw_only=True)
class LayerFiles:
    """What one layer adds, and what of the layers below it hides."""

    entries: dict[str, Entry] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    opaque: set[str] = field(default_factory=set)

    def hides(self, path: str) -> bool:
        """Whether what lower layers have at a path is not to be seen."""
        if path in self.removed:
            return True
        while path:
            path = path.rpartition("/")[0]
            above = self.entries.get(path)
            if path in self.removed or path in self.opaque:
                return True
            if above is not None and above.kind != "folder":
                return True
        return False


@dataclass(kw_only=True)
class Root:
    """The files of all layers together. `obtain` gives a layer's blob as a local file."""

    layers: Sequence[BaseLayer]
    """From the lowest up."""
    obtain: Callable[[BaseLayer], Path]
    read: list[LayerFiles] = field(default_factory=list)
    """The topmost first."""

    def entry(self, path: str) -> Entry | None:
        """What is at a path (relative, no link followed), or None. Reads layers as it must."""
        for layer in self._from_the_top():
            found = layer.entries.get(path)
            if found is not None:
                return found
            if layer.hides(path):
                return None
        return None

    def resolve(self, path: str) -> tuple[str, Entry] | None:
        """The path that one leads to, no component a link, and what is there; None for nothing.

        Raises UnusableBase for links that go in a circle.
        """
        left = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        here, links = "", 0
        found: Entry | None = Entry(kind="folder", mode=0o755)
        while left:
            part = left.pop()
            if part == "..":
                here = posixpath.dirname(here)
                continue
            inner = f"{here}/{part}".lstrip("/")
            found = self.entry(inner)
            if found is not None and found.kind == "link":
                links += 1
                if links > _MOST_LINKS:
                    raise UnusableBase(f"/{path} leads from link to link without end")
                here = "" if found.target.startswith("/") else here
                left += [p for p in reversed(found.target.split("/")) if p not in ("", ".")]
                continue
            if left and found is not None and found.kind != "folder":
                return None
            here = inner  # a folder need not have an entry of its own
        return None if found is None else (here, found)

    def paths(self, pattern: re.Pattern[str]) -> Iterator[str]:
        """Paths of the layers that have been read which match and can be seen."""
        seen = {p for layer in self.read for p in layer.entries if pattern.fullmatch(p)}
        return (path for path in sorted(seen) if self._visible(path))

    def _visible(self, path: str) -> bool:
        for layer in self.read:
            if path in layer.entries:
                return True
            if layer.hides(path):
                return False
        return False

    def _from_the_top(self) -> Iterator[LayerFiles]:
        yield from self.read
        while len(self.read) < len(self.layers):
            layer = self.layers[-1 - len(self.read)]
            self.read.append(read_layer(self.obtain(layer), layer))
            yield self.read[-1]


def read_layer(blob: Path, layer: BaseLayer) -> LayerFiles:
    """The files of a layer. Raises HashMismatch if its tar is not the one that the config names,
    UnusableBase if it is no gzip'ed tar."""
    from isal import igzip, igzip_lib

    broken = cast("type[Exception]", igzip_lib.IsalError)
    found = LayerFiles()
    try:
        with blob.open("rb") as raw, igzip.IGzipFile(fileobj=raw, mode="rb") as stream:
            archive = TarStream(stream)
            for member in archive:
                _add(found, archive, member)
                if len(found.entries) > _MOST_ENTRIES:
                    raise UnusableBase(f"its layer {layer.digest} has too many files")
            digest = archive.digest()
    except (tarfile.TarError, EOFError, igzip.BadGzipFile, ValueError, broken) as error:
        raise UnusableBase(
            f"its layer {layer.digest} is no gzip'ed tar: {error}",
            hint="make the base anew, with an engine that writes gzip layers",
        ) from error
    if digest != layer.diff_id:
        raise HashMismatch(
            f"the tar of the base's layer {layer.digest}", expected=layer.diff_id, found=digest
        )
    return found


def _add(found: LayerFiles, archive: TarStream, member: tarfile.TarInfo) -> None:
    path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
    parent, _, name = path.rpartition("/")
    if name == ".wh..wh..opq":
        found.opaque.add(parent)
    elif name.startswith(".wh."):
        found.removed.add(f"{parent}/{name[4:]}".lstrip("/"))
    elif member.isdir():
        found.entries[path] = Entry(kind="folder", mode=member.mode)
    elif member.issym():
        found.entries[path] = Entry(kind="link", mode=0o777, target=member.linkname)
    elif member.isreg():
        fact = _fact(name, archive)
        found.entries[path] = Entry(kind="file", mode=member.mode, fact=fact)
    else:
        same = member.linkname.removeprefix("./").strip("/") if member.islnk() else ""
        found.entries[path] = found.entries.get(same) or Entry(kind="other", mode=member.mode)


def _fact(name: str, archive: TarStream) -> bytes:
    """What of a file is kept, by its name."""
    if _PROGRAM.fullmatch(name) or name == "pyvenv.cfg":
        return _start(archive, HEAD)
    if _LIBC.fullmatch(name):
        version = _GLIBC.search(_start(archive, _LARGEST_LIBC))
        return version[1] if version else b""
    return b""


def _start(archive: TarStream, most: int) -> bytes:
    """The first bytes of the current member."""
    parts: list[bytes] = []
    size = 0
    for piece in archive.pieces():
        parts.append(piece)
        size += len(piece)
        if size >= most:
            break
    return b"".join(parts)[:most]
