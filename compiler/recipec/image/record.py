"""The RECORD of an installed wheel.

In: an open wheel, its RECORD, and where its files went. Out: RECORD as one more placed file. Where
the wheel's own rows say exactly what is installed, its bytes are kept, still deflated, and rows for
what the installer wrote follow them; otherwise RECORD is written anew, sorted. A row that names
what is not installed, names it twice or tells another size never gets into an image; a false hash
beside a true size does, since nobody asks RECORD which bytes a wheel has: the lock says that. It
writes nothing.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import posixpath
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from recipec.errors import UnsafeInput
from recipec.image.format import CHUNK
from recipec.image.zipfiles import DEFLATED, Member, ZipFile

Row = tuple[str, str, str]
"""Path, hash and size in bytes, as RECORD writes them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """One installed file: a member of the wheel as it is, then `data`; or `data` alone."""

    path: str
    mode: int
    member: Member | None = None
    data: bytes = b""


def installed_record(
    wheel: ZipFile, member: Member, placed: Collection[Placed], site: str
) -> Placed:
    """RECORD at its place, listing `placed` and itself. Raises UnsafeInput if it is not CSV."""
    path = f"{site}/{member.name}"
    text = wheel.read(member)
    rows = _rows(wheel, text)
    if not _fits(rows, member, placed, site):
        new = [_row(wheel, entry, rows, site) for entry in placed]
        return Placed(path=path, mode=0o644, data=_lines(sorted([*new, (member.name, "", "")])))
    written = sorted(_row(wheel, entry, rows, site) for entry in placed if entry.member is None)
    tail = (b"" if text.endswith(b"\n") else b"\n") + _lines(written)
    if member.method == DEFLATED:
        return Placed(path=path, mode=0o644, member=member, data=tail)
    return Placed(path=path, mode=0o644, data=text + tail)


def _rows(wheel: ZipFile, text: bytes) -> dict[str, Row]:
    """RECORD's rows by path; none at all if one is there twice or is no row."""
    try:
        found = [row for row in csv.reader(io.StringIO(text.decode("utf-8"), newline="")) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnsafeInput(f"{wheel.label}: its RECORD cannot be read") from error
    rows = {row[0]: (row[0], row[1], row[2]) for row in found if len(row) == 3}
    return rows if len(rows) == len(found) else {}


def _fits(rows: dict[str, Row], record: Member, placed: Iterable[Placed], site: str) -> bool:
    """Whether the rows name the copied files at their places, each with its size and a hash."""
    copied = [(entry.member, entry.path) for entry in placed if entry.member is not None]
    names = {member.name for member, _ in copied}
    return rows.keys() == names | {record.name} and all(
        path == f"{site}/{member.name}" and _told(rows, member) for member, path in copied
    )


def _told(rows: dict[str, Row], member: Member) -> str:
    """The hash that RECORD has for a member, if the size beside it is true."""
    _, digest, size = rows.get(member.name, ("", "", ""))
    return digest if size == str(member.size) else ""


def _row(wheel: ZipFile, entry: Placed, rows: dict[str, Row], site: str) -> Row:
    path = posixpath.relpath(entry.path, site)
    if entry.member is None:
        return path, _encoded(hashlib.sha256(entry.data)), str(len(entry.data))
    digest = _told(rows, entry.member) or _encoded(member_hash(wheel, entry.member))
    return path, digest, str(entry.member.size)


def member_hash(wheel: ZipFile, member: Member) -> hashlib._Hash:
    """SHA-256 of a member's contents, whatever their size."""
    found = hashlib.sha256()
    inflate = zlib.decompressobj(-15)
    for chunk in wheel.chunks(member):
        if member.method != DEFLATED:
            found.update(chunk)
            continue
        try:
            while chunk:
                found.update(inflate.decompress(chunk, CHUNK))
                chunk = inflate.unconsumed_tail
        except zlib.error as error:
            raise UnsafeInput(f"{wheel.label}: member {member.name!r} is broken") from error
    found.update(inflate.flush())
    return found


def _encoded(found: hashlib._Hash) -> str:
    return "sha256=" + base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode()


def _lines(rows: Iterable[Row]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()
