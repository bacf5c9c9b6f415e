"""Where a wheel's files go, against the specification and against pip itself."""

from __future__ import annotations

import base64
import csv
import hashlib
import posixpath
import subprocess
import sys
from pathlib import Path

import pytest

from recipec.errors import UnsafeInput
from recipec.image.record import Placed
from recipec.image.target import Target
from recipec.image.wheel import install
from recipec.image.zipfiles import ZipFile
from tests.support.wheels import make_wheel, record_row

TARGET = Target(python="3.11")
SITE = "usr/local/lib/python3.11/dist-packages"


def installed(path: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of every installed file."""
    with ZipFile(path, path.name) as wheel:
        return {p.path: (p.mode, _bytes(wheel, p)) for p in install(wheel, TARGET)}


def _bytes(wheel: ZipFile, placed: Placed) -> bytes:
    return (wheel.read(placed.member) if placed.member else b"") + placed.data


def refusal(path: Path) -> str:
    with pytest.raises(UnsafeInput) as caught:
        installed(path)
    return caught.value.message


def check_record(files: dict[str, tuple[int, bytes]], info: str) -> None:
    """RECORD lists every file once, with its true hash and size."""
    text = files[f"{SITE}/{info}/RECORD"][1].decode()
    rows = list(csv.reader(text.splitlines()))
    assert len({row[0] for row in rows}) == len(rows)
    listed = {posixpath.normpath(f"{SITE}/{row[0]}"): row for row in rows}
    assert listed.keys() == files.keys()
    for path, (name, digest, size) in listed.items():
        data = files[path][1]
        if name == f"{info}/RECORD":
            assert (digest, size) == ("", "")
            continue
        wanted = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        assert (digest, size) == (f"sha256={wanted}", str(len(data)))


def test_a_plain_wheel_keeps_its_record_and_gets_an_installer(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "one", {"one/__init__.py": b"", "one/a.py": b"a = 1\n" * 40})
    files = installed(path)
    assert sorted(files) == [
        f"{SITE}/one-1.0.dist-info/INSTALLER",
        f"{SITE}/one-1.0.dist-info/METADATA",
        f"{SITE}/one-1.0.dist-info/RECORD",
        f"{SITE}/one-1.0.dist-info/WHEEL",
        f"{SITE}/one/__init__.py",
        f"{SITE}/one/a.py",
    ]
    assert files[f"{SITE}/one-1.0.dist-info/INSTALLER"] == (0o644, b"recipec\n")
    check_record(files, "one-1.0.dist-info")
    with ZipFile(path, path.name) as wheel:
        record = next(p for p in install(wheel, TARGET) if p.path.endswith("/RECORD"))
        assert record.member is not None
        assert record.data.startswith(b"one-1.0.dist-info/INSTALLER,sha256=")


def test_data_folders_go_where_the_scheme_says(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path,
        "one",
        {
            "one-1.0.data/purelib/pure.py": b"p",
            "one-1.0.data/platlib/plat.so": b"\x7fELF",
            "one-1.0.data/scripts/run": b"#!python -E\nprint(1)\n",
            "one-1.0.data/scripts/gui": b"#!pythonw\nprint(2)\n",
            "one-1.0.data/scripts/tool": b"\x7fELF" + bytes(5000),
            "one-1.0.data/data/share/one/x.txt": b"x",
            "one-1.0.data/headers/one.h": b"h",
        },
    )
    files = installed(path)
    assert files[f"{SITE}/pure.py"] == (0o644, b"p")
    assert files[f"{SITE}/plat.so"] == (0o644, b"\x7fELF")
    assert files["usr/local/bin/run"] == (0o755, b"#!/usr/bin/python3.11 -E\nprint(1)\n")
    assert files["usr/local/bin/gui"] == (0o755, b"#!/usr/bin/python3.11\nprint(2)\n")
    assert files["usr/local/bin/tool"] == (0o755, b"\x7fELF" + bytes(5000))
    assert files["usr/local/share/one/x.txt"] == (0o644, b"x")
    assert files["usr/local/include/python3.11/one/one.h"] == (0o644, b"h")
    check_record(files, "one-1.0.dist-info")


def test_entry_points_become_scripts(tmp_path: Path) -> None:
    text = (
        "[console_scripts]\nCamel.run = one.cli:App.main [extra]\n"
        "[gui_scripts]\nwindow=one:main\n[other]\nx = not a script\n"
    )
    path = make_wheel(tmp_path, "one", {"one/__init__.py": b""}, entry_points=text)
    files = installed(path)
    assert files["usr/local/bin/Camel.run"] == (
        0o755,
        b"#!/usr/bin/python3.11\nimport sys\n\nfrom one.cli import App\n\n"
        b'if __name__ == "__main__":\n    sys.exit(App.main())\n',
    )
    assert files["usr/local/bin/window"][0] == 0o755
    check_record(files, "one-1.0.dist-info")


def test_only_execute_bits_survive(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path, "one", {"one/tool": b"x", "one/a.py": b"y"}, executable=["one/tool"]
    )
    files = installed(path)
    assert files[f"{SITE}/one/tool"][0] == 0o755
    assert files[f"{SITE}/one/a.py"][0] == 0o644


def test_bytecode_and_foreign_installer_marks_are_left_out(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path,
        "one",
        {
            "one/a.py": b"a",
            "one/__pycache__/a.cpython-311.pyc": b"old",
            "one-1.0.dist-info/INSTALLER": b"pip\n",
            "one-1.0.dist-info/RECORD.jws": b"signature",
        },
    )
    files = installed(path)
    assert not [name for name in files if name.endswith((".pyc", ".jws"))]
    assert files[f"{SITE}/one-1.0.dist-info/INSTALLER"][1] == b"recipec\n"
    check_record(files, "one-1.0.dist-info")


def test_a_record_with_holes_is_written_anew(tmp_path: Path) -> None:
    rows = [record_row("one/a.py", b"a"), ("one/b.py", "", ""), ("one/gone.py", "sha256=x", "1")]
    record = "".join(",".join(row) + "\n" for row in rows).encode()
    path = make_wheel(
        tmp_path,
        "one",
        {"one/a.py": b"a", "one/b.py": b"b" * 99, "one/c,c.py": b"c"},
        stored=["one/c,c.py"],
        record=record,
    )
    check_record(installed(path), "one-1.0.dist-info")


@pytest.mark.parametrize("stored", [[], ["one-1.0.dist-info/RECORD"]])
def test_a_record_without_a_last_newline_stays_valid(tmp_path: Path, stored: list[str]) -> None:
    first = make_wheel(tmp_path, "one", {"one/a.py": b"a"})
    record = installed(first)[f"{SITE}/one-1.0.dist-info/RECORD"][1]
    lines = [line for line in record.decode().splitlines() if "INSTALLER" not in line]
    path = make_wheel(
        tmp_path, "one", {"one/a.py": b"a"}, record="\n".join(lines).encode(), stored=stored
    )
    check_record(installed(path), "one-1.0.dist-info")


def test_the_same_files_as_pip_installs(tmp_path: Path) -> None:
    path = make_wheel(
        tmp_path,
        "one",
        {
            "one/__init__.py": b"def main(): print('hello')\n",
            "one/tool": b"#!/bin/sh\n",
            "one-1.0.data/purelib/pure.py": b"p",
            "one-1.0.data/data/share/one/x.txt": b"x",
            "one-1.0.data/scripts/run": b"#!python\nprint(1)\n",
        },
        entry_points="[console_scripts]\none-cli = one:main\n",
        executable=["one/tool", "one-1.0.data/scripts/run"],
    )
    out = tmp_path / "prefix"
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile")
    subprocess.run(
        [*pip, "--ignore-installed", "--prefix", str(out), str(path)],
        check=True,
        capture_output=True,
    )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    theirs = {
        str(p.relative_to(out)).replace(
            f"lib/{version}/site-packages", SITE.removeprefix("usr/local/")
        ): p
        for p in out.rglob("*")
        if p.is_file() and p.name not in ("REQUESTED", "direct_url.json")
    }
    ours = installed(path)
    assert {f"usr/local/{name}" for name in theirs} == set(ours)
    written = ("INSTALLER", "RECORD", "one-cli", "run")
    for name, file in theirs.items():
        mode, data = ours[f"usr/local/{name}"]
        assert bool(mode & 0o111) == bool(file.stat().st_mode & 0o111), name
        if file.name not in written:
            assert data == file.read_bytes()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("../up = one:main", "entry point '../up' = 'one:main' cannot become a script"),
        ("a b = one:main", "entry point 'a b' = 'one:main' cannot become a script"),
        ("x = one:main();evil", "entry point 'x' = 'one:main();evil' names no function"),
        ("x = os,sys:main", "entry point 'x' = 'os,sys:main' cannot become a script"),
        ("x = one", "entry point 'x' = 'one' names no function"),
    ],
)
def test_entry_points_cannot_inject(tmp_path: Path, entry: str, message: str) -> None:
    text = f"[console_scripts]\n{entry}\n"
    path = make_wheel(tmp_path, "one", {"one.py": b""}, entry_points=text)
    assert refusal(path) == f"one-1.0-py3-none-any.whl: {message}"


def test_broken_entry_points_are_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "one", {"one.py": b""}, entry_points="no section\n")
    assert refusal(path) == "one-1.0-py3-none-any.whl: its entry_points.txt cannot be read"


def test_a_wheel_needs_its_metadata(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "one", {"one.py": b""})
    path.write_bytes(path.read_bytes().replace(b"dist-info/RECORD", b"dist-info/RECxRD"))
    assert refusal(path) == "one-1.0-py3-none-any.whl: it has no one-1.0.dist-info/RECORD"
    path = make_wheel(tmp_path, "one", {"one.py": b""}, wheel_version="2.0")
    assert refusal(path) == "one-1.0-py3-none-any.whl: its Wheel-Version is not 1.x"
    path = make_wheel(tmp_path, "one", {"two-1.0.dist-info/METADATA": b""})
    assert refusal(path) == (
        "one-1.0-py3-none-any.whl: it must have one .dist-info folder, and has: "
        "one-1.0.dist-info, two-1.0.dist-info"
    )
    other = make_wheel(tmp_path, "one", {"one.py": b""}).rename(
        tmp_path / "two-1.0-py3-none-any.whl"
    )
    assert refusal(other) == (
        "two-1.0-py3-none-any.whl: its one-1.0.dist-info belongs to another project"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.py": b"1", "one-1.0.data/purelib/a.py": b"2"},
            f"two of its members would be installed as '{SITE}/a.py'",
        ),
        ({"a": b"1", "a/b.py": b"2"}, f"'{SITE}/a' is a file and also a folder"),
        (
            {"one-1.0.data/evil/x": b"1"},
            "member 'one-1.0.data/evil/x' is of no known .data category",
        ),
    ],
)
def test_files_that_get_in_each_others_way(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    path = make_wheel(tmp_path, "one", files)
    assert refusal(path) == f"one-1.0-py3-none-any.whl: {message}"
