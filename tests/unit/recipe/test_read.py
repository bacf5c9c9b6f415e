"""read: bytes of YAML to values with places, or diagnostics."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from recipec.errors import RecipeError
from recipec.recipe.document import Document, Place
from recipec.recipe.read import MAX_BYTES, MAX_DEPTH, MAX_PROBLEMS, MAX_VALUES, read


def value(text: str) -> Any:
    return read(text.encode(), "r.yaml").value


def said(data: bytes | str) -> str:
    with pytest.raises(RecipeError) as caught:
        read(data.encode() if isinstance(data, str) else data, "r.yaml")
    return caught.value.render()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("3.", 3.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.0e-3", 0.001),
        ("-2E+2", -200.0),
        # What YAML 1.1 would have taken for something else
        ("yes", "yes"),
        ("NO", "NO"),
        ("on", "on"),
        ("tRUE", "tRUE"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1:30", "1:30"),
        ("2026-11-01", "2026-11-01"),
        ("0o8", "0o8"),
        ("1e", "1e"),
        (".", "."),
        ("--", "--"),
        ("<<", "<<"),
        ("=", "="),
        ("'12'", "12"),
        ('"true"', "true"),
        ("''", ""),
        ("'~'", "~"),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
        ('"\\u00e9\\U0001F600"', "é😀"),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, expected: object) -> None:
    found = value(f"a: {text}")["a"]
    assert found == expected
    assert type(found) is type(expected)


def test_keys_are_always_text() -> None:
    assert value("1: a\ntrue: b\nnull: c\n2.5: d\n") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "2.5": "d",
    }


def test_every_key_and_value_has_its_place() -> None:
    text = "a: 1\nb:\n  - x\n  - {c: 'long text'}\nd:\n"
    document = read(text.encode(), "r.yaml")
    assert document.keys == {
        ("a",): Place(line=1, column=1, width=1),
        ("b",): Place(line=2, column=1, width=1),
        ("b", 1, "c"): Place(line=4, column=6, width=1),
        ("d",): Place(line=5, column=1, width=1),
    }
    assert document.values == {
        (): Place(line=1, column=1, width=1),
        ("a",): Place(line=1, column=4, width=1),
        ("b",): Place(line=3, column=3, width=1),
        ("b", 0): Place(line=3, column=5, width=1),
        ("b", 1): Place(line=4, column=5, width=1),
        ("b", 1, "c"): Place(line=4, column=9, width=11),
        # An empty value has no place of its own
        ("d",): Place(line=5, column=1, width=1),
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff", "# \u2028 \x85\n", "---\n", "%YAML 1.2\n---\n"])
def test_lines_are_counted_whatever_ends_them(start: str, end: str) -> None:
    text = (start + "a: 'x\u2028y'\nb: 2\n").replace("\n", end)
    document = read(text.encode(), "r.yaml")
    place = document.place(("b",))
    assert document.lines[place.line - 1] == "b: 2"
    assert place.column == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "name: a\ntask:\n\ttype: x\n",
            "r.yaml:3:1: error: not valid YAML: found character '\\t' that cannot start any token\n"
            "    3 | \ttype: x\n"
            "      | ^\n"
            "  hint: indent with spaces; YAML does not allow tabs",
        ),
        (
            "name: a\nprefix: say: it\n",
            "r.yaml:2:12: error: not valid YAML: mapping values are not allowed here\n"
            "    2 | prefix: say: it\n"
            "      |            ^\n"
            "  hint: put text that holds `: ` in quotes, and indent sections alike",
        ),
        (
            "a:\n  b: 1\n c: 2\n",
            "r.yaml:3:2: error: not valid YAML: expected <block end>, but found '<block mapping"
            " start>'\n"
            "    3 |  c: 2\n"
            "      |  ^\n"
            "  hint: check the indentation of this line",
        ),
        (
            "name: &x a\nother: *x\n",
            "r.yaml:1:7: error: anchors and aliases are not part of the recipe language\n"
            "    1 | name: &x a\n"
            "      |       ^^^^\n"
            "  hint: write the value out\n"
            "\n"
            "r.yaml:2:8: error: anchors and aliases are not part of the recipe language\n"
            "    2 | other: *x\n"
            "      |        ^^\n"
            "  hint: write the value out",
        ),
        (
            "name: !!python/object/apply:os.system ['id']\n",
            "r.yaml:1:7: error: tag tag:yaml.org,2002:python/object/apply:os.system is not part of"
            " the recipe language\n"
            "    1 | name: !!python/object/apply:os.system ['id']\n"
            "      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
            "  hint: remove the tag",
        ),
        (
            "a: 1\nb: 2\na: 3\n",
            "r.yaml:3:1: error: `a` stands here a second time; it is already on line 1\n"
            "    3 | a: 3\n"
            "      | ^\n"
            "  hint: keep one of them",
        ),
        (
            "a: {x: 1}\na: {x: {y: 1, y: 2}}\na: {x: 1}\n",
            "r.yaml:2:1: error: `a` stands here a second time; it is already on line 1\n"
            "    2 | a: {x: {y: 1, y: 2}}\n"
            "      | ^\n"
            "  hint: keep one of them\n"
            "\n"
            "r.yaml:2:15: error: `a.x.y` stands here a second time; it is already on line 2\n"
            "    2 | a: {x: {y: 1, y: 2}}\n"
            "      |               ^\n"
            "  hint: keep one of them\n"
            "\n"
            "r.yaml:3:1: error: `a` stands here a second time; it is already on line 1\n"
            "    3 | a: {x: 1}\n"
            "      | ^\n"
            "  hint: keep one of them",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "r.yaml:2:1: error: a recipe file holds one document\n    2 | ---\n      | ^",
        ),
        (
            "? [a, b]\n: 1\n",
            "r.yaml:1:3: error: a key must be plain text, not a list or a mapping\n"
            "    1 | ? [a, b]\n"
            "      |   ^",
        ),
        (
            "a: .inf\nb: -.INF\nc: .nan\nd: 1e999\n",
            "r.yaml:1:4: error: .inf is not a finite number\n"
            "    1 | a: .inf\n"
            "      |    ^^^^\n"
            "\n"
            "r.yaml:2:4: error: -.INF is not a finite number\n"
            "    2 | b: -.INF\n"
            "      |    ^^^^^\n"
            "\n"
            "r.yaml:3:4: error: .nan is not a finite number\n"
            "    3 | c: .nan\n"
            "      |    ^^^^\n"
            "\n"
            "r.yaml:4:4: error: 1e999 is not a finite number\n"
            "    4 | d: 1e999\n"
            "      |    ^^^^^",
        ),
        (
            'a: "\\ud83d\\ude00"\n',
            "r.yaml:1:4: error: the text holds half of a surrogate pair, which is no character\n"
            '    1 | a: "\\ud83d\\ude00"\n'
            "      |    ^^^^^^^^^^^^^^\n"
            "  hint: write the character itself, or \\U and eight digits",
        ),
        (
            "a: \x1b[31m\n",
            "r.yaml:1:4: error: not valid YAML: special characters are not allowed\n"
            "    1 | a: ?[31m\n"
            "      |    ^",
        ),
        (
            "a: " + "[" * 40,
            "r.yaml:1:35: error: nested deeper than 32 levels\n"
            f"    1 | a: {'[' * 40}\n"
            f"      | {' ' * 34}^",
        ),
        (
            "a: [1, 2\n",
            "r.yaml:2:1: error: not valid YAML: expected ',' or ']', but got '<stream end>'",
        ),
    ],
)
def test_what_is_not_in_the_language_is_shown(text: str, expected: str) -> None:
    report, _, count = said(text).rpartition("\n\n")
    assert report == expected
    assert count in {"1 error", f"{expected.count(': error: ')} errors"}


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n...\n", "~", "\ufeff"])
def test_an_empty_file(text: str) -> None:
    assert said(text) == (
        "r.yaml: error: the file is empty\n"
        "  hint: begin with `name:`, or run `recipec init NAME` for a recipe to start from\n"
        "\n"
        "1 error"
    )


@pytest.mark.parametrize("text", ["text", "- a\n", "5", "[]", "''"])
def test_something_else_than_a_mapping(text: str) -> None:
    assert said(text).startswith("r.yaml: error: a recipe is a mapping of sections\n")


def test_not_utf8_is_placed_by_characters() -> None:
    assert said("# ä\nnäme: ".encode() + b"\xe9\n") == (
        "r.yaml:2:7: error: byte 0xe9 is not UTF-8\n  hint: save the file as UTF-8\n\n1 error"
    )
    assert said("ä: ".encode("utf-8-sig") + b"\xff").startswith("r.yaml:1:4: error: byte 0xff")
    assert said("name: a".encode("utf-16")).startswith("r.yaml:1:1: error: byte 0xff is not UTF-8")


def test_a_file_that_is_too_large() -> None:
    head = b"a: 1\n"
    assert read(head + b"#" * (MAX_BYTES - len(head)), "r.yaml").value == {"a": 1}
    assert said(head + b"#" * (MAX_BYTES - len(head) + 1)) == (
        "r.yaml: error: the file has 262,145 bytes; a recipe has at most 262,144\n\n1 error"
    )


def test_the_deepest_nesting_and_one_more() -> None:
    assert value("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))
    block = "".join("  " * depth + "a:\n" for depth in range(40))
    assert said(block).startswith("r.yaml:33:65: error: nested deeper than 32 levels\n")


def test_too_many_values() -> None:
    assert said("a: [" + "1," * MAX_VALUES + "]").startswith("r.yaml:1:")
    assert "error: more than 20,000 values\n" in said("a: [" + "1," * MAX_VALUES + "]")


def test_the_report_of_a_hopeless_file_stays_readable() -> None:
    report = said("a: 1\n" * 5000)
    assert report.endswith(f"\n\n{MAX_PROBLEMS} errors")
    line = said("{" + "a: 1, " * 5000 + "}")
    assert max(map(len, line.splitlines())) < 200
    tag = said("a: !" + "x" * 100_000 + " b")
    assert max(map(len, tag.splitlines())) < 200


# What must always hold

# ruamel.yaml folds U+0085 and its kin even in quotes, as YAML 1.1 did, and writes `?` and `:` at
# the start of a text in a way that it does not read itself.
_texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"), max_size=8
).filter(lambda text: not text.startswith(("?", ":")))
_plain: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner),
    max_leaves=15,
)
_mappings = st.dictionaries(_texts, _plain, min_size=1)


def yaml_of(plain: object, flow: bool) -> str:
    """The same values as another program writes them."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = flow
    yaml.allow_unicode = True
    out = io.StringIO()
    yaml.dump(plain, out)
    return out.getvalue()


@given(_mappings, st.booleans())
def test_what_another_writer_wrote_comes_back(plain: dict[str, Any], flow: bool) -> None:
    assert read(yaml_of(plain, flow).encode(), "r.yaml").value == plain


@given(_mappings)
def test_json_is_yaml(plain: dict[str, Any]) -> None:
    """But for pairs of surrogates, which JSON writes for characters above U+FFFF."""
    text = json.dumps(plain, ensure_ascii=False)
    try:
        found = read(text.encode(), "r.yaml").value
    except RecipeError as error:
        # DEL and the C1 controls stand raw in JSON; YAML wants them escaped
        assert "special characters are not allowed" in error.render()  # noqa: PT017
    else:
        assert found == plain


_documents = st.lists(
    st.tuples(
        st.from_regex(r"[a-z][a-z_]{0,6}", fullmatch=True),
        st.sampled_from(
            [
                "1",
                "-2",
                "1.5",
                "1e3",
                "text",
                "two words",
                "'q'",
                '"d\\n"',
                "true",
                "null",
                "~",
                "",
                "[1, a]",
                "{b: 1}",
                "[]",
                "{}",
                "0x1f",
                "0o17",
                ".5",
                "-1.0e+2",
                "yes",
                "no",
                "on",
                "a:b",
                "a#b",
                "# comment",
                "-a",
                "?x",
                "é",
                "2.0.1",
                "v1",
                ">-\n  folded\n  text",
            ]
        ),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda pair: pair[0],
)


@given(_documents)
def test_plain_documents_read_as_a_yaml_12_loader_reads_them(pairs: list[tuple[str, str]]) -> None:
    text = "".join(f"{key}: {item.rstrip()}\n" for key, item in pairs)
    assert value(text) == YAML(typ="safe", pure=True).load(text)


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        document = read(data, "r.yaml")
    except RecipeError as error:
        error.render().encode("utf-8")
    else:
        check_places(document)


@given(st.text("ab: -[]{}'\"\n\t#|>&*!%@,?~019.\\x", max_size=60))
def test_any_text_near_yaml_is_read_or_refused(text: str) -> None:
    test_any_bytes_are_read_or_refused.hypothesis.inner_test(text.encode())  # type: ignore[attr-defined]


def check_places(document: Document) -> None:
    """Every place is inside the file, and there is one for every value."""
    for place in (*document.keys.values(), *document.values.values()):
        assert 1 <= place.line <= len(document.lines)
        assert 1 <= place.column <= len(document.lines[place.line - 1]) + 1

    def walk(item: object, path: tuple[str | int, ...]) -> None:
        assert path in document.values
        if isinstance(item, dict):
            for key, child in item.items():
                assert (*path, key) in document.keys
                walk(child, (*path, key))
        elif isinstance(item, list):
            for index, child in enumerate(item):
                walk(child, (*path, index))

    walk(document.value, ())
