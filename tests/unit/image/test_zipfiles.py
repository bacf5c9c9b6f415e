"""Zip files that must be read, and zip files that must not."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path
from typing import IO, cast

import pytest

from recipec.errors import UnsafeInput
from recipec.image.zipfiles import ZipFile
from tests.support.wheels import add, patched


def made(tmp_path: Path, *members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    path = tmp_path / "w.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            add(archive, name, data, kind=kind)
    return path


def read_all(path: Path) -> dict[str, bytes]:
    with ZipFile(path, "w.whl") as archive:
        return {member.name: archive.read(member) for member in archive.members}


def refusal(path: Path) -> str:
    with pytest.raises(UnsafeInput) as caught:
        read_all(path)
    return caught.value.message


def test_members_are_read_as_python_reads_them(tmp_path: Path) -> None:
    path = made(tmp_path, ("b/ü.txt", b"two" * 50), ("a", b""), ("c/", b""))
    with ZipFile(path, "w.whl") as archive:
        assert [member.name for member in archive.members] == ["a", "b/ü.txt"]
        assert [archive.read(member) for member in archive.members] == [b"", b"two" * 50]
        assert archive.start(archive.members[1], 4) == b"twot"


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip64_and_streamed_zips_are_read(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "w.whl"
    with path.open("wb") as raw:
        pipe = cast("IO[bytes]", _NoSeek(raw))
        with zipfile.ZipFile(pipe, "w", kind) as archive:
            with archive.open("big", "w", force_zip64=True) as member:
                member.write(b"x" * 100_000)
            archive.writestr("small", b"y")
    with ZipFile(path, "w.whl") as archive:
        assert [archive.read(m) for m in archive.members] == [b"x" * 100_000, b"y"]


class _NoSeek:
    def __init__(self, raw: object) -> None:
        self._raw = raw

    def write(self, data: bytes) -> int:
        return self._raw.write(data)  # type: ignore[attr-defined, no-any-return]

    def flush(self) -> None:
        self._raw.flush()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("../up", "a path that leaves its folder"),
        ("a/../../up", "a path that leaves its folder"),
        ("/etc/passwd", "an absolute or empty path"),
        ("a\\..\\b", "a backslash"),
        ("a/./b", "a path with empty or dot parts"),
        ("a//b", "a path with empty or dot parts"),
        ("a\nb", "a control character"),
        ("a\x1b[2J", "a control character"),
        ("n" * 256, "a path longer than Linux allows"),
        ("n/" * 2000 + "n", "a path longer than Linux allows"),
    ],
)
def test_unsafe_names_are_refused(tmp_path: Path, name: str, what: str) -> None:
    assert refusal(made(tmp_path, ("ok", b"1"), (name, b"2"))) == (
        f"w.whl: member {name!r} has {what}"
    )


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, ("aXb", b"1"))
    path.write_bytes(path.read_bytes().replace(b"aXb", b"a\0b"))
    assert refusal(path) == "w.whl: member 'a\\x00b' has a control character"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "w.whl"
    with zipfile.ZipFile(path, "w") as archive:
        add(archive, "link", b"/etc/passwd", mode=kind | 0o777)
    assert refusal(path) == "w.whl: member 'link': it is a symbolic link or a special file"


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = made(tmp_path, ("a", b"1"), ("a", b"2"))
    assert refusal(path) == "w.whl: member 'a': it is there twice"


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, ("a", b"1" * 50))
    central = path.read_bytes().index(b"PK\x01\x02")
    patched(path, central + 8, b"\x01\x00")
    assert refusal(path) == "w.whl: member 'a': it is encrypted or patched data"


def test_other_compression_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, ("a", b"1" * 50), kind=zipfile.ZIP_LZMA)
    assert refusal(path) == "w.whl: member 'a': compression method 14 is none that wheels use"


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path, ("a", b"1" * 50), ("b", b"2" * 50))
    raw = path.read_bytes()
    second = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 1)
    patched(path, second + 42, struct.pack("<L", 0))
    assert "overlaps with what follows it" in refusal(path)


def test_a_member_reaching_into_the_next_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, ("a", b"1"), ("b", b"2"), kind=zipfile.ZIP_STORED)
    central = path.read_bytes().index(b"PK\x01\x02")
    patched(path, central + 20, struct.pack("<LL", 40, 40))
    patched(path, 18, struct.pack("<LL", 40, 40))
    assert refusal(path) == "w.whl: member 'a': it overlaps with what follows it"


def test_a_local_header_of_another_name_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, ("good", b"1"))
    patched(path, 30, b"evil")
    assert refusal(path) == (
        "w.whl: member 'good': its local header is missing or of another member"
    )


def test_local_sizes_that_differ_are_refused(tmp_path: Path) -> None:
    path = patched(made(tmp_path, ("a", b"1" * 90)), 22, struct.pack("<L", 91))
    assert refusal(path) == "w.whl: member 'a': local header and directory disagree on it"


@pytest.mark.parametrize(("at", "value"), [(16, 1), (24, 90)])
def test_a_wrong_crc_or_size_is_refused(tmp_path: Path, at: int, value: int) -> None:
    path = made(tmp_path, ("a", b"1" * 91))
    raw = path.read_bytes()
    patched(path, raw.index(b"PK\x01\x02") + at, struct.pack("<L", value))
    patched(path, {16: 14, 24: 22}[at], struct.pack("<L", value))
    assert refusal(path) == ("w.whl: member 'a': its size or CRC is not what the directory says")


def test_an_impossible_size_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, ("a", b"1" * 90))
    patched(path, path.read_bytes().index(b"PK\x01\x02") + 24, struct.pack("<L", 4_000_000_000))
    message = refusal(path)
    assert message.startswith("w.whl: member 'a': ")
    assert message.endswith("bytes cannot hold the 4000000000 declared")


def test_a_bomb_is_refused_before_anything_is_inflated(tmp_path: Path) -> None:
    path = made(tmp_path, *((f"f{n}", bytes(20 << 20)) for n in range(5)))
    size = path.stat().st_size
    assert refusal(path) == f"w.whl: its {size} bytes would unpack to {5 * (20 << 20)}"


def test_zip64_without_its_sizes_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, ("a", b"1" * 90))
    patched(path, path.read_bytes().index(b"PK\x01\x02") + 24, b"\xff\xff\xff\xff")
    assert refusal(path) == "w.whl: member 'a': its zip64 sizes are missing"


def test_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    whole = made(tmp_path, ("a", b"1" * 9000), ("b", b"2")).read_bytes()
    path = tmp_path / "cut.whl"
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert refusal(path).startswith("w.whl")
    for junk in (whole + b"x", b"x" + whole, b"\0" * 100):
        path.write_bytes(junk)
        assert refusal(path).startswith("w.whl")


def test_any_changed_byte_is_read_rightly_or_refused(tmp_path: Path) -> None:
    path = made(tmp_path, ("a", b"hello hello hello"), ("b", b"2"))
    whole = path.read_bytes()
    wanted = {"a": b"hello hello hello", "b": b"2"}
    for place in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            path.write_bytes(whole)
            patched(path, place, bytes([whole[place] ^ flip]))
            try:
                found = read_all(path)
            except UnsafeInput:
                continue
            assert list(found.values()) == list(wanted.values())
