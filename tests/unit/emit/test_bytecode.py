"""Compiled templates: kept, used again, and thrown away when anything they were made from moves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from recipec.emit import bytecode
from recipec.emit.bytecode import TemplateCache


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    (tmp_path / "a.j2").write_text("one {{ x }}")
    return tmp_path


def rendered(folder: Path) -> str:
    environment = Environment(loader=FileSystemLoader(folder), bytecode_cache=TemplateCache())
    return environment.get_template("a.j2").render(x=1)


def kept(folder: Path) -> Path:
    (found,) = (folder / "__pycache__").iterdir()
    return found


def test_the_second_time_nothing_is_compiled(
    templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rendered(templates) == "one 1"
    assert kept(templates).name == f"a.{sys.implementation.cache_tag}.pyc.jinja"

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(Environment, "compile", refuse)
    assert rendered(templates) == "one 1"


def test_another_text_is_compiled_anew(templates: Path) -> None:
    rendered(templates)
    (templates / "a.j2").write_text("two {{ x }}")
    assert rendered(templates) == "two 1"
    assert rendered(templates) == "two 1"


def test_another_compiler_compiles_anew(templates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered(templates)
    before = kept(templates).read_bytes()
    monkeypatch.setattr(bytecode, "compiler_fingerprint", lambda: "another")
    assert rendered(templates) == "one 1"
    assert kept(templates).read_bytes() != before


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_damaged_file_is_as_good_as_none(templates: Path, damage: bytes | None) -> None:
    rendered(templates)
    whole = kept(templates).read_bytes()
    kept(templates).chmod(0o644)
    kept(templates).write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert rendered(templates) == "one 1"
    assert kept(templates).read_bytes() == whole


def test_where_nothing_may_be_written_nothing_is(
    templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (templates / "__pycache__").write_text("a file where the folder would be")
    assert rendered(templates) == "one 1"
    (templates / "__pycache__").unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert rendered(templates) == "one 1"
    assert not (templates / "__pycache__").exists()
