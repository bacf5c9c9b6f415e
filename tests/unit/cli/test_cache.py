"""`recipec cache`: what is kept, what goes, and blobs that changed."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec.cli.collect import needed
from recipec.cli.compile import _one_builder
from recipec.cli.main import main
from recipec.cli.project import find_project
from recipec.store import Store, canonical, sha256

OLD = 30 * 86_400
"""Seconds."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("RECIPEC_CACHE", str(tmp_path / "cache"))
    return Store()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A month passes: ctime cannot be set, so the clock that gc reads is."""
    now = time.time() + OLD
    monkeypatch.setattr("recipec.cli.cache.time.time", lambda: now)


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, object]:
    assert main(["cache", *words, "--json"]) == code
    plain: dict[str, object] = json.loads(capsys.readouterr().out)
    return plain


def test_info_of_an_empty_cache_makes_nothing(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = said(capsys, "info")
    assert plain["folder"] == str(store.root)
    assert main(["cache", "info"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == str(store.root)
    assert out.splitlines()[1] == "  blobs           0 files         0 B"
    assert err == ""
    assert not store.root.exists()


def test_info_counts_files_and_bytes(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.add_bytes(b"x" * 1500)
    store.add_bytes(b"y" * 500)
    store.put_record("kind", "key", 1)
    parts = said(capsys, "info")["parts"]
    assert isinstance(parts, dict)
    assert parts["blobs"] == {"files": 2, "bytes": 2000}
    assert parts["records"]["files"] == 1
    assert main(["cache", "info"]) == 0
    assert "  blobs           2 files      2.0 KB" in capsys.readouterr().out


def test_gc_keeps_what_is_young(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    digest = store.add_bytes(b"x")
    assert said(capsys, "gc") == {"removed": 0, "bytes": 0, "kept": 0}
    assert store.has(digest)
    assert said(capsys, "gc", "--older-than", "1m")["removed"] == 0
    assert said(capsys, "gc", "--older-than", "0d")["removed"] == 1
    assert not store.has(digest)


@pytest.mark.usefixtures("later")
def test_gc_removes_what_no_build_or_lock_names(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer, wheel, loose = (store.add_bytes(data) for data in (b"layer", b"wheel", b"loose"))
    diff_id = sha256(b"unpacked")
    state, lock = tmp_path / "build.json", tmp_path / "a.lock.json"
    state.write_text(json.dumps({"image": {"layers": [{"blob": layer, "diff_id": diff_id}]}}))
    lock.write_text(json.dumps({"wheels": [{"sha256": wheel}]}))
    store.put_record("builds", "a", {"state": str(state), "lock": str(lock)})
    store.put_record("layers", "a", {"digest": layer})
    store.put_record("layers", "b", {"digest": loose})
    for name in (diff_id[7:], f"{'0' * 64}", "stray"):
        (store.root / "rootfs" / name / "closed").mkdir(parents=True)
        (store.root / "rootfs" / name / "closed" / "file").write_text("x")
        (store.root / "rootfs" / name / "closed").chmod(0o500)
    for part in ("partial", "tmp"):
        (store.root / part).mkdir(exist_ok=True)
        (store.root / part / "half").write_text("x")
    foreign = store.path(loose).parent / "notes.txt"
    foreign.write_text("not ours")

    assert needed(store) == {layer, wheel, diff_id}
    plain = said(capsys, "gc")
    assert (plain["removed"], plain["kept"]) == (5, 3)
    assert set(store.digests()) == {layer, wheel}
    assert os.listdir(store.root / "rootfs") == [diff_id[7:]]  # noqa: PTH208 - the names
    assert not any((store.root / "partial").iterdir())
    assert foreign.exists()
    assert store.record("layers", "a") is not None
    assert store.record("layers", "b") is None

    # Of a build folder that was removed the lock is left: its inputs stay, what was made goes.
    state.unlink()
    assert said(capsys, "gc")["kept"] == 1
    assert list(store.digests()) == [wheel]
    lock.unlink()
    assert said(capsys, "gc")["kept"] == 0
    assert list(store.digests()) == []
    assert store.record("builds", "a") is None


@pytest.mark.usefixtures("later")
def test_gc_keeps_what_further_locks_need(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer, config = store.add_bytes(b"layer"), store.add_bytes(b"config")
    manifest = store.add_bytes(
        canonical({"config": {"digest": config}, "layers": [{"digest": layer}]})
    )
    store.add_bytes(b"loose")
    (tmp_path / "team/recipes").mkdir(parents=True)
    lock = tmp_path / "team/recipes/a.lock.json"
    lock.write_text(json.dumps({"image": {"manifest": manifest}}))
    assert said(capsys, "gc", "--keep-locks", str(tmp_path / "team"))["removed"] == 1
    assert set(store.digests()) == {layer, config, manifest}
    for folder in ("nowhere", "cache"):
        assert main(["cache", "gc", "--keep-locks", str(tmp_path / folder)]) == 2
    assert "nowhere is no folder\n" in capsys.readouterr().err


def test_gc_by_size_takes_the_oldest_that_nobody_needs(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = []
    for number in range(4):
        digests.append(store.add_bytes(b"%d" % number * 1000))
        time.sleep(0.02)  # a tick of the coarsest clock that Linux stamps files with
    lock = tmp_path / "a.lock.json"
    lock.write_text(json.dumps({"wheels": [{"sha256": digests[0]}]}))
    store.put_record("builds", "a", {"state": "", "lock": str(lock)})
    names = [f"blobs/sha256/{digest[7:]}" for digest in digests]
    plain = said(capsys, "gc", "--keep", "2KB", "--dry-run")
    assert plain["paths"] == names[1:3]
    assert set(store.digests()) == set(digests)
    assert said(capsys, "gc", "--keep", "2KB")["bytes"] == 2000
    assert set(store.digests()) == {digests[0], digests[3]}
    assert main(["cache", "gc", "--keep", "0.5KB"]) == 0
    assert list(store.digests()) == [digests[0]]
    err = capsys.readouterr().err
    assert "note: 1.0 KB stay: builds and locks on this machine need them\n" in err


def test_gc_takes_what_a_killed_process_left_and_nothing_that_is_being_written(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with store.writer() as blob, store.scratch() as folder:
        blob.write(b"half")
        (folder / "file").write_text("x")
        left = store.root / "tmp" / "blob-left"
        left.write_text("x" * 10)
        assert said(capsys, "gc", "--keep", "0")["bytes"] == 10
        assert not left.exists()
        assert (folder / "file").exists()
        digest = blob.commit()
    assert store.read(digest) == b"half"


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("foreign", [[], 5, {"state": 5}, {"state": None}, {"lock": "\0"}])
def test_gc_survives_foreign_records(
    store: Store, foreign: object, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add_bytes(b"x")
    store.put_record("builds", "a", foreign)
    assert said(capsys, "gc")["removed"] == 1


def test_gc_in_words(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    digest = store.add_bytes(b"x" * 2_500_000)
    assert main(["cache", "gc", "--older-than", "0d", "--dry-run"]) == 0
    assert capsys.readouterr() == (
        f"    2.5 MB  blobs/sha256/{digest[7:]}\n",
        "would remove 1 blobs, downloads and trees (2.5 MB); 0 are in use\n",
    )
    assert main(["cache", "gc", "--older-than", "0d"]) == 0
    assert capsys.readouterr() == (
        "",
        "removed 1 blobs, downloads and trees (2.5 MB); 0 are in use\n",
    )


def test_options_of_the_other_action_are_refused(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "verify", "--dry-run"]) == 2
    assert capsys.readouterr().err == (
        "error: --dry-run says nothing to `cache verify`\n"
        "  hint: it belongs to `recipec cache gc`\n"
    )
    assert not store.root.exists()


def spoil(path: Path) -> None:
    """Change one byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_verify_finds_a_changed_byte_and_repair_drops_it(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = store.add_bytes(b"good"), store.add_bytes(b"bad")
    store.put_record("layers", "a", {"digest": good})
    store.put_record("layers", "b", {"digest": bad})
    (store.root / "partial").mkdir()
    (store.root / "partial" / "half").write_text("x")
    found = {"blobs": 2, "records": 2, "unfinished": 1}
    fine = {**found, "wrong": [], "damaged": [], "broken_promises": [], "repaired": False}
    assert said(capsys, "verify") == fine
    spoil(store.path(bad))
    spoil(store.root / "records/layers/b.record")
    wrong = {**fine, "wrong": [bad], "damaged": ["records/layers/b.record"]}
    assert said(capsys, "verify", code=4) == {**wrong, "repaired": False}
    assert store.record("layers", "b") is None
    assert store.has(bad)
    assert said(capsys, "verify", "--repair", code=4) == {**wrong, "repaired": True}
    assert list(store.digests()) == [good]
    assert said(capsys, "verify") == {**fine, "blobs": 1, "records": 1}


@given(st.integers(0, 1 << 30), st.integers(0, 7))
def test_no_flipped_bit_of_a_record_is_believed(place: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.put_record("kind", "key", {"digest": "sha256:0", "size": 12})
        path = Path(folder) / "records/kind/key.record"
        data = bytearray(path.read_bytes())
        data[place % len(data)] ^= 1 << bit
        path.write_bytes(data)
        assert store.record("kind", "key") is None
        assert [found for _, found in store.records()] == [None]


def test_verify_in_words(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    digest = store.add_bytes(b"bad")
    spoil(store.path(digest))
    assert main(["cache", "verify"]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"{digest}: its bytes have changed: `--repair` removes it",
        "1 blobs and 0 records read, 1 wrong",
    ]
    assert main(["cache", "verify", "--repair"]) == 4
    assert "removed; the next build makes it again" in capsys.readouterr().err


@pytest.mark.usefixtures("later")
def test_gc_removes_nothing_while_a_build_runs(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dvc.yaml").write_text("")
    (tmp_path / "a.yaml").write_text("name: a\n")
    digest = store.add_bytes(b"about to be used")
    with _one_builder(store, find_project(tmp_path / "a.yaml")):
        assert main(["cache", "gc"]) == 3
        assert capsys.readouterr().err == (
            "error: a build is using the store\n  hint: run `recipec cache gc` when it is done\n"
        )
        assert store.has(digest)
    assert said(capsys, "gc")["removed"] == 1
    assert not store.has(digest)
