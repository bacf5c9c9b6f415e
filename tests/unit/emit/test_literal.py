"""Values as Python source: they read back as themselves, in the form that ruff leaves alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec.emit.literal import assignment, from_import, literal, markdown, prose

PROJECT = Path(__file__).parents[3]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=12,
)  # fmt: skip


@given(values)
def test_a_literal_reads_back_as_its_value(value: object) -> None:
    text = literal(value)
    assert text.isascii()
    assert "\n" not in text
    assert ast.literal_eval(text) == value


@given(st.text(st.characters(), max_size=150), st.text("abc'\"\\", max_size=120))
def test_an_assignment_reads_back_as_its_value(text: str, quoted: str) -> None:
    for value in (text, quoted, [text, quoted]):
        tree = ast.parse(assignment("NAME", value, "why"))
        assert len(tree.body) == 1
        node = tree.body[0]
        assert isinstance(node, ast.Assign)
        assert ast.literal_eval(node.value) == value


def test_ruff_leaves_assignments_alone(tmp_path: Path) -> None:
    texts = ["it's", 'say "x"', "both ' and \"", "\\", "\x00\x7f\xe9\u2028\U0001f600", "", "\ud800"]
    texts += ["x" * n for n in range(80, 110)]
    values = [
        *texts,
        *([text, "b"] for text in texts),
        [*texts, *map(str, range(99))],
        [],
        1e-05,
        1e22,
        0.1,
        -3,
        None,
        True,
    ]
    lines = [
        assignment(f"NAME_{number}", value, comment)
        for number, value in enumerate(values)
        for comment in ("", "a reason", "r" * 60)
    ]
    script = tmp_path / "script.py"
    script.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "ruff", "format", "--no-cache", "--diff"]
    config = ["--config", str(PROJECT / "pyproject.toml"), str(script)]
    done = subprocess.run([*command, *config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_without_a_literal(value: float) -> None:
    with pytest.raises(ValueError, match="a script cannot hold"):
        literal(value)


def test_types_without_a_literal() -> None:
    with pytest.raises(TypeError, match="a script cannot hold a set"):
        literal({1})


def test_mappings_on_one_line_and_on_several() -> None:
    ranks = {"q_proj": 4, 'a"b': 8}
    assert literal(ranks) == """{"q_proj": 4, 'a"b': 8}"""
    assert ast.literal_eval(literal(ranks)) == ranks
    assert assignment("RANKS", ranks, "ranks") == f"RANKS = {literal(ranks)}  # ranks"
    many = {f"layer number {n}": n for n in range(9)}
    wrapped = assignment("RANKS", many).splitlines()
    assert wrapped[:2] == ["RANKS = {", '    "layer number 0": 0,']
    assert wrapped[-1] == "}"


def test_many_items_share_lines() -> None:
    labels = [f"class {n}" for n in range(151)]
    wrapped = assignment("LABELS", labels)
    lines = wrapped.splitlines()
    assert lines[1].startswith('    *("class 0", "class 1", ')
    assert len(lines) < 25
    assert max(map(len, lines)) <= 100
    assert eval(wrapped.removeprefix("LABELS = ")) == labels
    few = assignment("LABELS", labels[:30]).splitlines()
    assert (few[1], len(few)) == ('    "class 0",', 32)


def test_imports_are_sorted_and_wrapped() -> None:
    assert from_import("m", ["b", "A", "Cd", "a", "SEED"]) == "from m import A, SEED, Cd, a, b"
    names = [f"name_{n:02}" for n in range(20)]
    wrapped = from_import("m", names).splitlines()
    assert wrapped[0] == "from m import ("
    assert wrapped[1] == "    name_00,"
    assert wrapped[-1] == ")"


def test_words_for_comments_and_cards() -> None:
    assert prose('a\n"""b') == "a????b"
    assert prose("x" * 50) == "x" * 37 + "..."
    assert markdown("a_b\n*c* <d>") == "a\\_b \\*c\\* \\<d\\>"
