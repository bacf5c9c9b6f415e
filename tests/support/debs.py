"""Tiny real Debian packages, made in the test."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from recipec.pins.lockfile import Deb
from recipec.store import sha256

Content = bytes | str
"""A file's bytes, or the target of a symlink; a name that ends in / is a folder."""


def data_tar(
    entries: Mapping[str, Content],
    hardlinks: Mapping[str, str] | None = None,
    modes: Mapping[str, int] | None = None,
    special: Sequence[str] = (),
) -> bytes:
    """A data archive: `./`-names as dpkg-deb writes them, any time, any owner."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(f"./{name}")
            info.mtime, info.uid, info.uname = 1_700_000_000, 1000, "builder"
            info.mode = (modes or {}).get(name, 0o755 if name.endswith("/") else 0o644)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        for name, target in (hardlinks or {}).items():
            info = tarfile.TarInfo(f"./{name}")
            info.type, info.linkname = tarfile.LNKTYPE, f"./{target}"
            archive.addfile(info)
        for name in special:
            info = tarfile.TarInfo(f"./{name}")
            info.type = tarfile.CHRTYPE
            archive.addfile(info)
    return raw.getvalue()


def make_deb(
    folder: Path,
    package: str,
    data: bytes,
    *,
    control: str = "",
    suffix: str = ".xz",
) -> Path:
    """A .deb around a data archive, with maintainer scripts that must never run."""
    compress: Mapping[str, Callable[[bytes], bytes]] = {
        ".xz": lzma.compress,
        ".gz": gzip.compress,
        "": bytes,
    }
    stanza = control or (
        f"Package: {package}\nVersion: 1.0\nArchitecture: all\nDescription: a test\n more of it\n"
    )
    info = io.BytesIO()
    with tarfile.open(fileobj=info, mode="w") as archive:
        for name, text in (("./postinst", "#!/bin/sh\nexit 1\n"), ("./control", stanza)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    path = folder / f"{package}_1.0_all.deb"
    parts = [
        ("debian-binary", b"2.0\n"),
        (f"control.tar{suffix}", compress[suffix](info.getvalue())),
        (f"data.tar{suffix}", compress[suffix](data)),
    ]
    path.write_bytes(deb_of(parts))
    return path


def deb_of(parts: Sequence[tuple[str, bytes]]) -> bytes:
    """An ar archive of these members, whatever they are."""
    return b"!<arch>\n" + b"".join(_part(name, data) for name, data in parts)


def _part(name: str, data: bytes) -> bytes:
    head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return head + data + b"\n" * (len(data) % 2)


def pin_deb(path: Path) -> Deb:
    """The lock's entry for a package file."""
    data = path.read_bytes()
    package, version, rest = path.name.split("_")
    return Deb(
        package=package,
        version=version,
        architecture=rest.removesuffix(".deb"),
        file=path.name,
        sha256=sha256(data),
        size=len(data),
    )
