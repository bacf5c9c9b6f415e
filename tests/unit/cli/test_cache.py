"""`recipec cache`: what is kept, what goes, and blobs that changed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from recipec.cli.cache import reachable
from recipec.cli.compile import _one_builder
from recipec.cli.main import main
from recipec.cli.project import find_project
from recipec.store import Store, sha256

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
    assert said(capsys, "gc", "--days", "0")["removed"] == 1
    assert not store.has(digest)


@pytest.mark.usefixtures("later")
def test_gc_removes_what_no_build_names(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer, wheel, loose = (store.add_bytes(data) for data in (b"layer", b"wheel", b"loose"))
    diff_id = sha256(b"unpacked")
    state, lock = tmp_path / "build.json", tmp_path / "a.lock.json"
    state.write_text(json.dumps({"image": {"layers": [{"blob": layer, "diff_id": diff_id}]}}))
    lock.write_text(json.dumps({"wheels": [{"sha256": wheel}]}))
    store.put_record("builds", "a", {"state": str(state), "lock": str(lock)})
    for name in (diff_id[7:], f"{'0' * 64}", "stray"):
        (store.root / "rootfs" / name / "closed").mkdir(parents=True)
        (store.root / "rootfs" / name / "closed" / "file").write_text("x")
        (store.root / "rootfs" / name / "closed").chmod(0o500)
    for part in ("partial", "tmp"):
        (store.root / part).mkdir(exist_ok=True)
        (store.root / part / "half").write_text("x")
    foreign = store.path(loose).parent / "notes.txt"
    foreign.write_text("not ours")

    assert reachable(store) == {layer, wheel, diff_id}
    plain = said(capsys, "gc")
    assert (plain["removed"], plain["kept"]) == (5, 3)
    assert set(store.digests()) == {layer, wheel}
    assert os.listdir(store.root / "rootfs") == [diff_id[7:]]  # noqa: PTH208 - the names
    assert not any((store.root / "partial").iterdir())
    assert foreign.exists()

    # A build folder that was removed keeps nothing any more
    state.unlink()
    assert said(capsys, "gc")["kept"] == 0
    assert list(store.digests()) == []
    assert store.record("builds", "a") is None


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b"5", b'{"state": 5}', b'{"state": null}'])
def test_gc_survives_torn_records(
    store: Store, torn: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add_bytes(b"x")
    store.put_record("builds", "a", {})
    (record,) = (store.root / "records" / "builds").iterdir()
    record.write_bytes(torn)
    assert said(capsys, "gc")["removed"] == 1


def test_gc_in_words(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.add_bytes(b"x" * 2_500_000)
    assert main(["cache", "gc", "--days", "0"]) == 0
    assert capsys.readouterr() == (
        "",
        "removed 1 blobs, downloads and trees (2.5 MB); 0 are in use\n",
    )


def test_verify_finds_and_removes_what_changed(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = store.add_bytes(b"good"), store.add_bytes(b"bad")
    assert said(capsys, "verify") == {"blobs": 2, "wrong": []}
    store.path(bad).chmod(0o644)
    store.path(bad).write_bytes(b"evil")
    assert said(capsys, "verify", code=4) == {"blobs": 2, "wrong": [bad]}
    assert list(store.digests()) == [good]
    assert main(["cache", "verify"]) == 0
    assert capsys.readouterr().err.endswith("1 blobs read, 0 wrong\n")


def test_verify_in_words(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    digest = store.add_bytes(b"bad")
    store.path(digest).chmod(0o644)
    store.path(digest).write_bytes(b"evil")
    assert main(["cache", "verify"]) == 4
    assert (
        f"removed {digest}: its bytes had changed; the next build makes it again\n"
        "1 blobs read, 1 wrong\n"
    ) in capsys.readouterr().err


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
