"""Whole layers: the gzip holds the tar that was meant, whoever reads it."""

from __future__ import annotations

import gzip
import io
import stat
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipec.errors import UnsafeInput
from recipec.image.layer import LayerWriter
from recipec.store import Store, sha256

part = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
contents = st.one_of(
    st.binary(max_size=3000),
    st.tuples(st.binary(max_size=9), st.integers(1, 9000)).map(lambda pair: pair[0] * pair[1]),
)
how = st.sampled_from(["file", "stream", "splice"])
files = st.dictionaries(part.filter(lambda p: p not in (".", "..")), st.tuples(contents, how))
slow = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def deflated(data: bytes, level: int = 6) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@slow
@given(files, st.booleans(), st.integers(1, 4000))
def test_a_layer_holds_the_tar_that_was_meant(
    tmp_path: Path, entries: dict[str, tuple[bytes, str]], match: bool, piece: int
) -> None:
    store = Store(tmp_path)
    with store.writer() as blob:
        layer = LayerWriter(blob, match=match)
        for name, (data, kind) in sorted(entries.items()):
            path = f"opt/deep/{name}"
            if kind == "file":
                layer.file(path, data, 0o755)
            elif kind == "stream":
                chunks = in_pieces(data, piece)
                layer.stream(path, size=len(data), chunks=chunks, crc=zlib.crc32(data))
            else:
                chunks = in_pieces(deflated(data), piece)
                crc = zlib.crc32(data)
                layer.splice(path, size=len(data), crc=crc, chunks=chunks, tail=b"tail")
        diff_id = layer.close()
        digest = blob.commit()
    tar = gzip.decompress(store.read(digest))
    assert sha256(tar) == diff_id
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        found = {}
        for member in archive.getmembers():
            if member.isdir():
                assert member.mode == 0o755
                continue
            stream = archive.extractfile(member)
            assert stream is not None
            assert stat.S_IMODE(member.mode) in (0o644, 0o755)
            found[member.name] = stream.read()
    tails = {"splice": b"tail"}
    assert found == {
        f"opt/deep/{name}": data + tails.get(kind, b"") for name, (data, kind) in entries.items()
    }


def test_programs_of_others_read_a_layer(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    data = b"some contents\n" * 1000
    with store.writer() as blob:
        layer = LayerWriter(blob)
        layer.folder("tmp", 0o1777)
        layer.file("a/one", b"1", 0o755)
        layer.splice("a/two", size=len(data), crc=zlib.crc32(data), chunks=[deflated(data)])
        layer.symlink("b/link", "../a/one")
        layer.hardlink("b/again", "a/two")
        layer.close()
        path = store.path(blob.commit())
    subprocess.run(["gzip", "--test"], stdin=path.open("rb"), check=True)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xzf", str(path), "-C", str(out)], check=True)
    assert (out / "a/one").stat().st_mode & 0o777 == 0o755
    assert (out / "b/link").read_bytes() == b"1"
    assert (out / "b/again").samefile(out / "a/two")
    assert (out / "a/two").read_bytes() == data
    assert (out / "tmp").stat().st_mode & 0o7777 == 0o1777
    listing = subprocess.run(
        ["tar", "-tzf", str(path)], check=True, capture_output=True, text=True
    ).stdout.split()
    assert listing == ["tmp/", "a/", "a/one", "a/two", "b/", "b/link", "b/again"]


def test_a_header_costs_little(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = "usr/local/lib/python3.11/dist-packages/transformers/models/t5/file_{:04}.py"
    body = deflated(b"x = 1\n" * 50)
    with store.writer() as blob:
        layer = LayerWriter(blob)
        for number in range(1000):
            crc = zlib.crc32(b"x = 1\n" * 50)
            layer.splice(path.format(number), size=300, crc=crc, chunks=[body])
        layer.close()
        blob.commit()
        overhead = blob.size / 1000 - len(body)
    assert overhead - len(path) < 85


DATA = b"the very bytes " * 9000
STREAM = deflated(DATA)


@pytest.mark.parametrize(
    ("size", "crc", "stream", "message"),
    [
        (len(DATA) - 1, 0, STREAM, "f: it inflates to more than the 134999 bytes declared"),
        (len(DATA) + 1, 0, STREAM, "f: it inflates to 135000 bytes, not the 135001 declared"),
        (len(DATA), 7, STREAM, f"f: its CRC is {zlib.crc32(DATA):08x}, not the 00000007 declared"),
        (len(DATA), 0, STREAM[:-1], "f: its deflate stream is cut short"),
        (len(DATA), 0, b"", "f: its deflate stream is cut short"),
        (len(DATA), 0, STREAM + b"x", "f: bytes follow the end of its deflate stream"),
        (len(DATA), 0, b"\xff" * 99, "f: its deflate stream is broken"),
        (10, 0, deflated(bytes(1 << 24)), "f: it inflates to more than the 10 bytes declared"),
    ],
)
@pytest.mark.parametrize("piece", [37, 1 << 20])
def test_a_lying_stream_is_refused_and_leaves_nothing(
    tmp_path: Path, size: int, crc: int, stream: bytes, message: str, piece: int
) -> None:
    store = Store(tmp_path)
    with pytest.raises(UnsafeInput) as caught, store.writer() as blob:
        LayerWriter(blob).splice("f", size=size, crc=crc, chunks=in_pieces(stream, piece))
    assert caught.value.message == message
    assert list(store.digests()) == []
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_streamed_file_must_be_as_long_as_it_says(tmp_path: Path) -> None:
    for size, crc in ((4, None), (6, None), (5, 1)):
        with pytest.raises(UnsafeInput), Store(tmp_path).writer() as blob:
            LayerWriter(blob).stream("f", size=size, chunks=[b"12", b"345"], crc=crc)
