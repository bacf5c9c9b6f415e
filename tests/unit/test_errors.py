"""Diagnostics and errors as users see them, to the character."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec import errors
from recipec.errors import Diagnostic, HashMismatch, RecipecError, RecipeError, visible

PLAIN = Diagnostic(
    file="r.yaml",
    line=3,
    column=7,
    message="`name` is 5; it is text",
    hint="put it in quotes",
    excerpt="name: 5  # five",
    width=1,
)


def test_a_diagnostic_shows_place_line_caret_and_hint() -> None:
    assert PLAIN.render() == (
        "r.yaml:3:7: error: `name` is 5; it is text\n"
        "    3 | name: 5  # five\n"
        "      |       ^\n"
        "  hint: put it in quotes"
    )


def test_a_diagnostic_about_the_whole_file_has_no_line() -> None:
    whole = Diagnostic(file="r.yaml", line=0, column=0, message="the file is empty")
    assert whole.render() == "r.yaml: error: the file is empty"


def test_the_caret_is_as_wide_as_the_value_and_ends_with_the_line() -> None:
    wide = dataclasses.replace(PLAIN, column=7, width=100)
    assert wide.render().splitlines()[2] == "      |       ^^^^^^^^^"
    behind = dataclasses.replace(PLAIN, column=40)
    assert behind.render().splitlines()[2] == "      |                ^"


def test_a_tab_before_the_caret_is_kept() -> None:
    tabbed = dataclasses.replace(PLAIN, excerpt="\ta\tb: 5", column=7)
    assert tabbed.render().splitlines()[1:3] == ["    3 | \ta\tb: 5", "      | \t \t   ^"]


def test_the_gutter_widens_with_the_line_number() -> None:
    far = dataclasses.replace(PLAIN, line=1234567, excerpt="a: b", column=1)
    assert far.render().splitlines()[1:3] == ["1234567 | a: b", "        | ^"]


def test_of_a_very_long_line_only_what_stands_around_the_caret_is_shown() -> None:
    line = "x" * 500 + "BAD" + "y" * 500
    shown = dataclasses.replace(PLAIN, excerpt=line, column=501, width=3).render().splitlines()
    assert shown[1] == "    3 | ..." + "x" * 60 + "BAD" + "y" * 57 + "..."
    assert shown[2] == "      |    " + " " * 60 + "^^^"


def test_control_characters_of_a_file_do_not_reach_the_terminal() -> None:
    hostile = Diagnostic(
        file="a\x1b[2J.yaml",
        line=1,
        column=1,
        message="unknown key `\x1b]0;title\x07`",
        hint="\x9b31m or \u202e",
        excerpt="\x1b[31mred: \u202e 1",
        width=4,
    )
    assert hostile.render() == (
        "a\\x1b[2J.yaml:1:1: error: unknown key `\\x1b]0;title\\x07`\n"
        "    1 | ?[31mred: ? 1\n"
        "      | ^^^^\n"
        "  hint: \\x9b31m or \\u202e"
    )
    assert RecipecError("no \x1b[2J file\n  at all", hint="\x07").render() == (
        "error: no \\x1b[2J file\n  at all\n  hint: \\x07"
    )


@given(st.text(), st.text(), st.text(max_size=400), st.integers(1, 500), st.integers(1, 500))
def test_whatever_is_rendered_is_printable(
    message: str, hint: str, excerpt: str, column: int, width: int
) -> None:
    made = dataclasses.replace(
        PLAIN, message=message, hint=hint, excerpt=excerpt, column=column, width=width
    )
    text = made.render()
    text.encode("utf-8")  # no half of a surrogate pair
    assert not set(map(chr, range(32))) - {"\n", "\t"} & set(text)


def test_visible_text_is_one_short_line() -> None:
    assert visible("plain: äöü 漢字") == "plain: äöü 漢字"
    assert visible("a\nb\tc\x00\ud800") == "a\\nb\\tc\\x00\\ud800"
    assert visible("x" * 500) == "x" * 117 + "..."


def test_a_recipe_error_sorts_and_counts() -> None:
    first = Diagnostic(file="a.yaml", line=2, column=1, message="two")
    second = Diagnostic(file="a.yaml", line=1, column=9, message="one")
    other = Diagnostic(file="b.yaml", line=1, column=1, message="three")
    error = RecipeError([other, first, second])
    assert error.render() == (
        "a.yaml:1:9: error: one\n\na.yaml:2:1: error: two\n\nb.yaml:1:1: error: three\n\n3 errors"
    )
    assert error.message == "one; two; three"
    assert RecipeError([first]).render().endswith("\n\n1 error")


def test_a_recipe_error_as_json() -> None:
    assert RecipeError([PLAIN]).to_plain() == {
        "error": "the recipe is wrong",
        "diagnostics": [
            {
                "file": "r.yaml",
                "line": 3,
                "column": 7,
                "message": "`name` is 5; it is text",
                "hint": "put it in quotes",
            }
        ],
        "exit_code": 1,
    }


def test_other_errors_as_text_and_json() -> None:
    error = HashMismatch("a.whl", expected="sha256:aa", found="sha256:bb", hint="lock again")
    assert error.render() == "error: a.whl: expected sha256:aa, found sha256:bb\n  hint: lock again"
    assert error.to_plain() == {
        "error": "a.whl: expected sha256:aa, found sha256:bb",
        "hint": "lock again",
        "exit_code": 4,
    }
    assert RecipecError("no disk").render() == "error: no disk"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("RecipeError", 1),
        ("StaleLock", 1),
        ("UsageError", 2),
        ("EnvironmentLacks", 3),
        ("HashMismatch", 4),
        ("UnsafeInput", 4),
        ("TrainingFailed", 5),
        ("Interrupted", 130),
    ],
)
def test_the_exit_codes_are_the_promised_ones(name: str, code: int) -> None:
    kind = getattr(errors, name)
    assert kind.exit_code == code
    assert issubclass(kind, RecipecError)
