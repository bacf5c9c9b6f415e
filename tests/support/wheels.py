"""Tiny real wheels, and zip files that lie, made in the test."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipec.pins.lockfile import Wheel
from recipec.store import sha256


def record_row(name: str, data: bytes) -> tuple[str, str, str]:
    """A RECORD row."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return name, f"sha256={digest}", str(len(data))


def record_text(files: Mapping[str, bytes], info: str) -> bytes:
    """RECORD of these files."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows(record_row(name, data) for name, data in files.items())
    writer.writerow((f"{info}/RECORD", "", ""))
    return out.getvalue().encode()


def make_wheel(
    folder: Path,
    name: str,
    files: Mapping[str, bytes],
    *,
    version: str = "1.0",
    entry_points: str = "",
    executable: Sequence[str] = (),
    stored: Sequence[str] = (),
    record: bytes | None = None,
    extra: Mapping[str, bytes] | None = None,
    wheel_version: str = "1.0",
) -> Path:
    """A wheel of these files with metadata and RECORD; `extra` members are not in RECORD."""
    info = f"{name}-{version}.dist-info"
    every = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: {wheel_version}\nRoot-Is-Purelib: true\n".encode(),
    }
    if entry_points:
        every[f"{info}/entry_points.txt"] = entry_points.encode()
    members = {**every, **(extra or {})}
    members[f"{info}/RECORD"] = record_text(every, info) if record is None else record
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            mode = 0o755 if member in executable else 0o644
            kind = zipfile.ZIP_STORED if member in stored else zipfile.ZIP_DEFLATED
            add(archive, member, data, mode=stat.S_IFREG | mode, kind=kind)
    return path


def add(
    archive: zipfile.ZipFile,
    name: str,
    data: bytes,
    *,
    mode: int = stat.S_IFREG | 0o644,
    kind: int = zipfile.ZIP_DEFLATED,
) -> None:
    """One member with a Unix mode."""
    about = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    about.external_attr = mode << 16
    about.compress_type = kind
    archive.writestr(about, data)


def pin(path: Path) -> Wheel:
    """The lock's entry for a wheel file."""
    data = path.read_bytes()
    name, version = path.name.split("-")[:2]
    return Wheel(name=name, version=version, file=path.name, sha256=sha256(data), size=len(data))


def patched(path: Path, place: int, data: bytes) -> Path:
    """The same file with some bytes overwritten; `place` counts from the start."""
    raw = bytearray(path.read_bytes())
    raw[place : place + len(data)] = data
    path.write_bytes(raw)
    return path
