"""Several trees as one root: who wins, what is bound whole, what is made anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from recipec.engines.union import Step, union
from recipec.engines.unpack import Tree


def tree(
    folder: Path,
    files: Mapping[str, str],
    *,
    removed: frozenset[str] = frozenset(),
    opaque: frozenset[str] = frozenset(),
) -> Tree:
    """A tree of files; a value starting with `->` is a symlink's target, `/` an empty folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == "/":
            path.mkdir(exist_ok=True)
        elif content.startswith("->"):
            path.symlink_to(content[2:])
        else:
            path.write_text(content)
    folder.mkdir(exist_ok=True)
    return Tree(folder=folder, removed=removed, opaque=opaque)


def words(steps: tuple[Step, ...], root: Path) -> list[str]:
    """Steps in short: `path`, `path -> target`, `path = LAYER/path`."""
    shown = []
    for step in steps:
        if step.kind == "folder":
            shown.append(step.path)
        elif step.kind == "symlink":
            shown.append(f"{step.path} -> {step.source}")
        else:
            shown.append(f"{step.path} = {Path(step.source).relative_to(root)}")
    return shown


def test_folders_of_one_layer_are_bound_whole(tmp_path: Path) -> None:
    base = tree(tmp_path / "1", {"usr/bin/sh": "", "lib": "->usr/lib", "opt/r/model/w": ""})
    top = tree(tmp_path / "2", {"opt/r/recipe/train.py": ""})
    assert words(union([base, top], places=["/proc", "/out"]), tmp_path) == [
        "/lib -> usr/lib",
        "/opt",
        "/opt/r",
        "/opt/r/model = 1/opt/r/model",
        "/opt/r/recipe = 2/opt/r/recipe",
        "/usr = 1/usr",
        "/out",
        "/proc",
    ]


def test_the_upper_layer_wins(tmp_path: Path) -> None:
    below = tree(tmp_path / "1", {"d/same": "", "d/file": "", "d/dir/x": "", "d/link": "->a"})
    above = tree(tmp_path / "2", {"d/same": "", "d/file/now": "", "d/dir": "", "d/link": "->b"})
    assert words(union([below, above], places=[]), tmp_path) == [
        "/d",
        "/d/dir = 2/d/dir",
        "/d/file = 2/d/file",
        "/d/link -> b",
        "/d/same = 2/d/same",
    ]


def test_whiteouts_hide_only_what_is_below(tmp_path: Path) -> None:
    below = tree(tmp_path / "1", {"a/x": "", "a/y": "", "b/x": "", "c": ""})
    above = tree(
        tmp_path / "2",
        {"a": "/", "b/z": ""},
        removed=frozenset({"a/x", "c"}),
        opaque=frozenset({"b"}),
    )
    third = tree(tmp_path / "3", {"c": "back"})
    assert words(union([below, above], places=[]), tmp_path) == [
        "/a",
        "/a/y = 1/a/y",
        "/b = 2/b",
    ]
    assert words(union([below, above, third], places=[]), tmp_path)[-1] == "/c = 3/c"


def test_places_become_real_folders(tmp_path: Path) -> None:
    base = tree(tmp_path / "1", {"tmp/left": "", "sys": "/", "run": "->var/run", "etc/x": ""})
    places = ["/tmp", "/sys/devices/cpu", "/run/data"]
    assert words(union([base], places=places), tmp_path) == [
        "/etc = 1/etc",
        "/sys",
        "/tmp",
        "/run",
        "/run/data",
        "/sys/devices",
        "/sys/devices/cpu",
    ]


@pytest.mark.parametrize("count", [1, 2, 40])
def test_many_layers_that_share_a_folder(tmp_path: Path, count: int) -> None:
    trees = [tree(tmp_path / str(n), {f"lib/p{n:02}/f": "", "lib/own": ""}) for n in range(count)]
    shown = words(union(trees, places=[]), tmp_path)
    if count == 1:
        assert shown == ["/lib = 0/lib"]
    else:
        packages = [f"/lib/p{n:02} = {n}/lib/p{n:02}" for n in range(count)]
        assert shown == ["/lib", f"/lib/own = {count - 1}/lib/own", *packages]
