"""What is in layers: every file, and the package that each belongs to.

In: the stream of a layer's blob, compressed or not. Out: files by path with kind, mode, size, link
and sha256, and packages by name with their versions. It is read once from front to back, and no
file's bytes are kept. A wheel's files are those of its RECORD; Debian packages are those that
dpkg's status lists, whose files only their copyright folder tells.
"""

from __future__ import annotations

import csv
import hashlib
import io
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from recipec.errors import EnvironmentLacks
from recipec.image.format import CHUNK, MAX_METADATA
from recipec.image.opened import unreadable

_INFO = re.compile(r"(?P<site>.+)/(?P<name>[^/]+)-(?P<version>[^/-]+)\.dist-info/RECORD")
_STATUS = re.compile(r"var/lib/dpkg/(status|status\.d/[^/]+)")
_COPYRIGHT = re.compile(r"usr/share/doc/([^/]+)/copyright")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One thing in a layer. `kind` is file, folder, symlink, hardlink or device."""

    kind: str
    mode: int
    size: int
    target: str
    digest: str
    """sha256 of a file's bytes, empty for other kinds."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What one or several layers hold; a later layer's file hides an earlier one's."""

    files: dict[str, Entry] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """Package by path of the files that are some package's."""
    packages: dict[str, str] = field(default_factory=dict)
    """Version by package."""


def read_layer(blob: IO[bytes], label: str) -> Contents:
    """The contents of one layer of the image `label`. Raises EnvironmentLacks if it is damaged."""
    from isal import igzip_lib

    found = Contents()
    broken = cast("type[Exception]", igzip_lib.IsalError)
    try:
        with _inflated(blob, label) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            for member in tar:
                path = member.name.removeprefix("./").rstrip("/")
                found.files[path] = _entry(tar, member, path, found)
    except (EOFError, OSError, tarfile.TarError, zlib.error, broken) as error:
        raise unreadable(label, error) from error
    return found


def digest_inside(path: Path) -> str | None:
    """The digest of what a layer's blob inflates to, its diff_id; None if it does not inflate."""
    from isal import igzip_lib

    found = hashlib.sha256()
    broken = cast("type[Exception]", igzip_lib.IsalError)
    try:
        with path.open("rb") as blob:
            stream = _inflated(blob, path.name)
            while data := stream.read(CHUNK):
                found.update(data)
    except (EOFError, OSError, zlib.error, broken):
        return None
    return "sha256:" + found.hexdigest()


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, found: Contents) -> Entry:
    digest = ""
    if member.isreg():
        stream = cast("IO[bytes]", tar.extractfile(member))
        if member.size <= MAX_METADATA and _tells(path):
            data = stream.read()
            digest = hashlib.sha256(data).hexdigest()
            _learn(path, data.decode("utf-8", "replace"), found)
        else:
            sum256 = hashlib.sha256()
            while data := stream.read(CHUNK):
                sum256.update(data)
            digest = sum256.hexdigest()
    if owner := _COPYRIGHT.fullmatch(path):
        found.owners[path] = owner[1]
    return Entry(
        kind=_kind(member),
        mode=member.mode,
        size=member.size,
        target=member.linkname,
        digest=digest,
    )


def _tells(path: str) -> bool:
    return bool(_INFO.fullmatch(path) or _STATUS.fullmatch(path))


def _learn(path: str, text: str, found: Contents) -> None:
    """Take packages and their files from a file that lists them."""
    info = _INFO.fullmatch(path)
    if info is not None:
        name = normalized(info["name"])
        found.packages[name] = info["version"]
        for listed in _rows(text):
            place = posixpath.normpath(posixpath.join(info["site"], listed))
            found.owners[place] = name
        return
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version):[ \t]*(\S+)", stanza, re.MULTILINE))
        if "Package" in fields:
            found.packages[fields["Package"]] = fields.get("Version", "")


def _rows(text: str) -> Iterable[str]:
    try:
        return [row[0] for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error:
        return []  # a RECORD that is not CSV tells nothing


def normalized(name: str) -> str:
    """A project's name as locks write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _kind(member: tarfile.TarInfo) -> str:
    if member.isreg():
        return "file"
    if member.isdir():
        return "folder"
    if member.issym():
        return "symlink"
    return "hardlink" if member.islnk() else "device"


def _inflated(blob: IO[bytes], label: str) -> IO[bytes]:
    """The tar in a blob: gzip, zstd, or as it is."""
    head = blob.read(4)
    if not head:
        raise EOFError("an empty layer")
    blob.seek(0)
    if head[:2] == b"\x1f\x8b":
        from isal import igzip

        return cast("IO[bytes]", igzip.IGzipFile(fileobj=blob, mode="rb"))
    if head == b"\x28\xb5\x2f\xfd":
        return _zstd(blob, label)
    return blob


def _zstd(blob: IO[bytes], label: str) -> IO[bytes]:
    import importlib

    for name in ("compression.zstd", "backports.zstd"):
        try:
            return cast("IO[bytes]", importlib.import_module(name).ZstdFile(blob))
        except ImportError:
            continue
    raise EnvironmentLacks(
        f"{label} is compressed with zstd, which this Python cannot read",
        hint="pip install backports.zstd",
    )
