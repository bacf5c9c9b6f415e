"""Files of every format: the same rows give the same bytes, and what is wrong is told by place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipec.errors import EnvironmentLacks, RecipeError
from recipec.pins.data import DataFacts, read_splits
from recipec.pins.data.wanted import Wanted
from recipec.recipe.splits import Split
from recipec.store import Store

PAIR = Wanted(columns=(("source", "a"), ("target", "b")), max_lost=1.0)
TEXT = Wanted(columns=(("text", "text"),))
ALL = Wanted(
    columns=(("text", "text"), ("label", "label"), ("words", "words"), ("answers", "answers")),
    multi_label=True,
    max_lost=1.0,
)
TAGGED = Wanted(columns=(("words", "words"), ("tags", "tags")))
Rows = list[dict[str, Any]]


def jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def array(rows: Rows) -> bytes:
    return json.dumps(rows, indent=1, ensure_ascii=False).encode()


def table(rows: Rows, separator: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(cell(name, value) for name, value in row.items())
    return out.getvalue().encode()


def cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return "|".join(value) if name == "label" else json.dumps(value)


def parquet(rows: Rows) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=2)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression.zstd import compress
    else:
        from backports.zstd import compress
    return bytes(compress(data))


WRITERS: dict[str, Callable[[Rows], bytes]] = {
    "r.jsonl": jsonl,
    "r.ndjson.gz": lambda rows: gzip.compress(jsonl(rows)),
    "r.json": array,
    "r.json.zst": lambda rows: zstd(array(rows)[:20]) + zstd(array(rows)[20:]),
    "r.csv": table,
    "r.csv.gz": lambda rows: gzip.compress(table(rows)),
    "r.tsv": lambda rows: table(rows, "\t"),
    "r.parquet": parquet,
}


def read(wanted: Wanted, project: Path, store: Store, *paths: str) -> DataFacts:
    return read_splits([Split(name="train", paths=paths)], wanted, project=project, store=store)


def normal(wanted: Wanted, project: Path, store: Store, *paths: str) -> bytes:
    facts = read(wanted, project, store, *paths)
    (file,) = facts.files
    data = facts.sources[file.sha256].read_bytes()
    assert (file.size, file.rows) == (len(data), data.count(b"\n"))
    return data


def fault(wanted: Wanted, project: Path, store: Store, name: str, data: bytes) -> list[str]:
    """Place, message and hint of everything that is wrong with a file."""
    (project / name).write_bytes(data)
    with pytest.raises(RecipeError) as caught:
        read(wanted, project, store, name)
    assert caught.value.exit_code == 1
    return [
        f"{d.line}:{d.column} {d.message} | {d.hint}" if d.line else f"{d.message} | {d.hint}"
        for d in caught.value.diagnostics
    ]


@pytest.mark.parametrize("name", ["r.csv", "r.tsv"])
def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_name(
    tmp_path: Path, store: Store, name: str
) -> None:
    plain = table([{"a": "1", "b": "2"}], "\t" if name.endswith("tsv") else ",")
    (tmp_path / name).write_bytes(plain)
    expected = normal(PAIR, tmp_path, store, name)
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + plain)
    assert normal(PAIR, tmp_path, store, name) == expected


ROWS: Rows = [
    {"b": "two\nlines", "extra": "1", "a": 'quotes " and, commas'},
    {"b": "é \u2028 \U0001f600", "extra": "", "a": "tab\tand \\ back"},
    {"b": " ", "extra": "", "a": "left out"},
    {"b": "[1]", "extra": "x", "a": "\x85\x1c.\r"},
]
NORMAL = (
    '{"a":"quotes \\" and, commas","b":"two\\nlines"}\n'
    '{"a":"tab\\tand \\\\ back","b":"é \u2028 \U0001f600"}\n'
    '{"a":"\x85\\u001c.\\r","b":"[1]"}\n'
).encode()


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_bytes(tmp_path: Path, store: Store, name: str) -> None:
    (tmp_path / name).write_bytes(WRITERS[name](ROWS))
    assert normal(PAIR, tmp_path, store, name) == NORMAL
    assert normal(PAIR, tmp_path, store, name) == NORMAL  # from what is remembered


def test_several_files_are_one_split(tmp_path: Path, store: Store) -> None:
    for name, write in WRITERS.items():
        (tmp_path / name).write_bytes(write(ROWS))
    facts = read(PAIR, tmp_path, store, *WRITERS)
    (file,) = facts.files
    assert facts.sources[file.sha256].read_bytes() == NORMAL * len(WRITERS)
    assert [source.path for source in file.sources] == list(WRITERS)
    assert (file.split, file.path, file.normal_form) == ("train", "train.jsonl", 1)


def test_one_plain_file_is_taken_as_it_is(tmp_path: Path, store: Store) -> None:
    (tmp_path / "x.data").write_bytes(jsonl(ROWS[:2]))
    wanted = Wanted(columns=PAIR.columns, format="jsonl")
    facts = read(wanted, tmp_path, store, "x.data")
    assert facts.files[0].sources == ()
    assert facts.sources == {facts.files[0].sha256: tmp_path / "x.data"}
    assert list(store.digests()) == []


def test_columns_that_are_not_read_change_nothing(tmp_path: Path, store: Store) -> None:
    (tmp_path / "one.csv").write_bytes(table(ROWS))
    (tmp_path / "two.csv").write_bytes(table([{**row, "extra": "other"} for row in ROWS]))
    one = read(PAIR, tmp_path, store, "one.csv").files[0]
    two = read(PAIR, tmp_path, store, "two.csv").files[0]
    assert one.sha256 == two.sha256
    assert one.sources[0].sha256 != two.sources[0].sha256


def test_a_normal_form_that_was_lost_is_written_again(tmp_path: Path, store: Store) -> None:
    (tmp_path / "r.csv").write_bytes(table(ROWS))
    before = read(PAIR, tmp_path, store, "r.csv")
    for path in before.sources.values():
        path.unlink()
    assert read(PAIR, tmp_path, store, "r.csv") == before
    assert [path.read_bytes() for path in before.sources.values()] == [NORMAL]


def test_plain_text_is_a_row_a_line(tmp_path: Path, store: Store) -> None:
    (tmp_path / "r.txt").write_bytes(" one\u2028 \r\n\n\t\ntwo".encode())
    assert (
        normal(TEXT, tmp_path, store, "r.txt")
        == '{"text":" one\u2028 "}\n{"text":"two"}\n'.encode()
    )


def test_an_empty_array(tmp_path: Path, store: Store) -> None:
    for data in (b"", b" \n", b"[]", b" [ ] "):
        assert fault(PAIR, tmp_path, store, "r.json", data) == [
            "the file is empty | it needs at least one row"
        ]


letters = st.text(string.ascii_letters + ' ,;"\t\n\r|\\é\u2028\U0001f600', min_size=1, max_size=9)
names = st.text(string.ascii_letters + " é", min_size=1, max_size=4).filter(str.strip)


@st.composite
def full_rows(draw: st.DrawFn) -> Rows:
    def one() -> dict[str, Any]:
        found = draw(st.lists(st.just(0), max_size=2))
        return {
            "label": draw(st.lists(names, max_size=3, unique=True)),
            "text": "x" + draw(letters),
            "words": draw(st.lists(letters, min_size=1, max_size=3)),
            "answers": {"text": ["x"] * len(found), "answer_start": found},
        }

    return [one() for _ in range(draw(st.integers(1, 5)))]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=full_rows())
def test_any_rows_in_any_format(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, rows: Rows
) -> None:
    monkeypatch.setattr("recipec.pins.data.source.CHUNK", 7)
    if not any(row["label"] for row in rows):
        rows[0]["label"] = ["one"]
    wanted = Wanted(columns=(*ALL.columns, ("context", "text2")), multi_label=True, max_lost=1.0)
    rows = [{**row, "text2": row["text"]} for row in rows]
    expected = "".join(
        json.dumps(
            {name: row[name] for name in ("text", "label", "words", "answers", "text2")},
            ensure_ascii=False,
            separators=(",", ":"),
        )
        + "\n"
        for row in rows
    ).encode()
    for name, write in WRITERS.items():
        (tmp_path / name).write_bytes(write(rows))
        facts = read(wanted, tmp_path, store, name)
        got = facts.sources[facts.files[0].sha256].read_bytes()
        if name == "r.jsonl":
            assert got == jsonl(rows)
        else:
            assert got == expected


def test_a_file_that_is_written_while_it_is_read(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.csv").write_bytes(table(ROWS))
    digest_of = store.digest_of

    def and_then_somebody_writes(source: Path) -> str:
        digest = digest_of(source)
        source.write_bytes(table(ROWS[:1]))
        return digest

    monkeypatch.setattr(store, "digest_of", and_then_somebody_writes)
    with pytest.raises(RecipeError) as caught:
        read(PAIR, tmp_path, store, "r.csv")
    assert caught.value.render() == (
        "r.csv: error: the file changed while it was read\n  hint: run the command again\n\n1 error"
    )


# What is wrong with a table

HEAD = b"a,b,extra\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            HEAD + b"1,2,3\n1,2\n",
            "3:1 the row has 2 fields and the header 3 | put fields with separators in quotes",
        ),
        (
            HEAD + b'"1\n1",2,3\n1,2,3,4\n',
            "4:1 the row has 4 fields and the header 3 | put fields with separators in quotes",
        ),
        (HEAD + b"\n", "2:1 the line is blank | remove it: every line is one row"),
        (
            b"a,c\n1,2\n",
            "1:1 the header has no `b` | it has `a`, `c`; see `task.fields` in the recipe",
        ),
        (
            b"a,bb\n1,2\n",
            "1:1 the header has no `b` | did you mean `bb`? `task.fields` names the columns",
        ),
        (b"a,b,b\n1,2,3\n", "1:1 the header names `b` twice | rename one of the columns"),
        (
            b"a;b\n1;2\n",
            "1:1 the columns are separated by ';', not by ','"
            " | `format: tsv` is for tabs; write others as CSV",
        ),
        ("a,b\n1,2\n".encode("utf-16"), "1:1 the file is UTF-16 | save it as UTF-8"),
        (HEAD + b"1,\xe9,3\n", "2:3 byte 0xe9 is not UTF-8 | save the file as UTF-8"),
        (
            HEAD + b'1,"x\n\xe9",3\n',
            "2:1 line 3: byte 0xe9 is not UTF-8 | save the file as UTF-8",
        ),
        (
            HEAD + b'1,2,3\n1,"open\n2,3\n',
            "3:1 a quote is opened and never closed | close it, or double it",
        ),
        (
            HEAD + b'1,"x"y,3\n',
            "2:1 text goes on after a field's closing quote"
            ' | a quote inside a quoted field is doubled: ""',
        ),
        (
            HEAD + b"1,2\r1,3\n",
            "2:1 a carriage return ends the line, or stands unquoted in a field"
            " | save the file with line feeds",
        ),
        (
            HEAD + b"1,\0,3\n",
            "2:1 `b` holds a NUL character | remove it: it is no text, and often a sign of damage",
        ),
        (HEAD, "the file is empty | it needs at least one row"),
        (b"", "the file is empty | it needs at least one row"),
    ],
)
def test_a_wrong_table(tmp_path: Path, store: Store, data: bytes, said: str) -> None:
    assert fault(PAIR, tmp_path, store, "r.csv", data) == [said]


def test_a_quote_that_is_never_closed_ends_early(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipec.pins.data.tables.LONGEST_FIELD", 1000)
    limit = csv.field_size_limit()
    found = fault(PAIR, tmp_path, store, "r.csv", HEAD + b'1,"2,3\n' + b"1,2,3\n" * 1000)
    assert [line.partition(",")[0] for line in found] == ["2:1 a field is longer than 16"]
    assert csv.field_size_limit() == limit


def test_lists_in_a_table_are_json(tmp_path: Path, store: Store) -> None:
    assert fault(TAGGED, tmp_path, store, "r.csv", b"words,tags\na b,O O\n") == [
        '2:1 `words` is not JSON | a list in a table is written as JSON: ["a", "b"]'
    ]


def test_a_key_that_stands_twice_in_a_list_of_a_table(tmp_path: Path, store: Store) -> None:
    wanted = Wanted(columns=(("messages", "messages"),))
    data = b'messages\n"[{""role"": ""user"", ""role"": ""tool""}]"\n'
    assert fault(wanted, tmp_path, store, "r.csv", data) == [
        "2:1 `messages`: `role` stands twice in one object | remove one of them"
    ]


# What is wrong with JSON


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            b'{"a": "1", "b": "2"}\n{"a": "1", "b": "2"}\n',
            "a JSON file must be one array of rows"
            " | one object a line is JSON Lines: name the file .jsonl, or say `format: jsonl`",
        ),
        (
            b'[{"a": "1", "b": "2"},\n {"a": "1"}]',
            "2:1 the row has no `b` | it has `a`; see `task.fields` in the recipe",
        ),
        (
            b'[{"a": "1", "b": "2"},\n {"a": "1", "b": "2"}',
            "not JSON: the array is not closed: the file ends too early (line 2) | ",
        ),
        (
            b'[{"a": "1", "b": "2"},\n]',
            "not JSON: a comma with no row beside it (line 2) | ",
        ),
        (b'[,{"a": "1", "b": "2"}]', "not JSON: a comma with no row beside it (line 1) | "),
        (b'[{"a": "1", "b": "2"}]\n x', "not JSON: text after the array's end (line 1) | "),
        (b"[}", "not JSON: a } that closes nothing (line 1) | "),
        (
            b'[{"a": "1",\n\n  "b" "2"}]',
            "3:7 not JSON: expected ':' | every element of the array must be an object",
        ),
        (
            b'[{"a": "1",\n "b": NaN}]',
            "2:7 NaN is not JSON | write null or a number",
        ),
        (
            b'[\n["a"]]',
            "2:1 a row must be a JSON object, not an array"
            " | every element of the array must be an object",
        ),
        (
            b"\xef\xbb\xbf[]",
            "the file starts with a byte order mark | save it as UTF-8 without one",
        ),
    ],
)
def test_a_wrong_array(tmp_path: Path, store: Store, data: bytes, said: str) -> None:
    assert fault(PAIR, tmp_path, store, "r.json", data) == [said]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            b'{"a": "1", "b": "2", "a": "3"}',
            "1:1 `a` stands twice in one object | remove one of them",
        ),
        (
            b'{"a": "1", "b": "2", "\\u0061": "3"}',
            "1:1 `a` stands twice in one object | remove one of them",
        ),
        (b'{"a": Infinity, "b": "2"}', "1:7 Infinity is not JSON | write null or a number"),
        (
            b'{"a": "\\ud800", "b": "2"}',
            "1:14 not JSON: unexpected end of escaped utf-16 surrogate pair"
            " | every line must be one whole JSON object",
        ),
        (
            b'{"a": "\\ud800"}',
            "1:1 half of a surrogate pair (\\uD800 to \\uDFFF)"
            " | every line must be one whole JSON object",
        ),
        (
            b'{"a": "x\\u0000", "b": "2"}',
            "1:1 `a` holds a NUL character | remove it: it is no text, and often a sign of damage",
        ),
        (
            b'{"a": "1", "b": ' + b'{"x":' * 5000 + b"1" + b"}" * 5001,
            "1:1 the object is nested too deeply | a row is a flat object",
        ),
    ],
)
def test_a_wrong_line(tmp_path: Path, store: Store, line: bytes, said: str) -> None:
    assert fault(PAIR, tmp_path, store, "r.jsonl", line + b"\n") == [said]


@pytest.mark.parametrize(("deep", "good"), [(63, True), (64, False)])
def test_how_deep_an_unread_column_may_be(
    tmp_path: Path, store: Store, deep: int, good: bool
) -> None:
    row = b'{"a": "[[", "b": "%s", "c": %s}\n' % (b"[" * 99, b"[" * deep + b"]" * deep)
    if good:
        (tmp_path / "r.jsonl").write_bytes(row)
        assert normal(PAIR, tmp_path, store, "r.jsonl") == row
    else:
        (said,) = fault(PAIR, tmp_path, store, "r.jsonl", row)
        assert said == "1:1 the object is nested too deeply | a row is a flat object"


def test_a_value_may_hold_a_column_s_name(tmp_path: Path, store: Store) -> None:
    row = b'{"a": "a", "b": "\\"a\\"", "c": {"a": 1}}\n'
    (tmp_path / "r.jsonl").write_bytes(row)
    assert normal(PAIR, tmp_path, store, "r.jsonl") == row


# What is wrong with the bytes


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "r.csv.gz",
            gzip.compress(table(ROWS * 50))[:-9],
            r"the gzip data ends too early, after line \d+ \| the file is cut: copy it again",
        ),
        (
            "r.csv.zst",
            zstd(table(ROWS * 50))[:-3],
            r"the zstd data ends too early, after line \d+ \| the file is cut: copy it again",
        ),
        (
            "r.json.gz",
            gzip.compress(array(ROWS * 50))[:-9],
            r"the gzip data ends too early, after \d+ bytes \| the file is cut: copy it again",
        ),
        ("r.jsonl.gz", jsonl(ROWS), "not gzip data, or damaged, after line 0"),
        ("r.jsonl.zst", jsonl(ROWS), "not zstd data, or damaged, after line 0"),
        ("r.csv.gz", gzip.compress(table(ROWS)) + b"more", "not gzip data, or damaged, after line"),
        ("r.parquet", jsonl(ROWS), "not Parquet, or damaged: "),
        ("r.parquet", parquet(ROWS)[:-20], "not Parquet, or damaged: "),
        ("r.parquet", b"", "not Parquet, or damaged: "),
    ],
)
def test_damaged_files(tmp_path: Path, store: Store, name: str, data: bytes, said: str) -> None:
    import re

    found = fault(PAIR, tmp_path, store, name, data)
    assert len(found) == 1
    assert re.match(said, found[0]), found


def test_a_damaged_block(tmp_path: Path, store: Store) -> None:
    packed = bytearray(gzip.compress(table(ROWS * 200)))
    packed[40:60] = b"\xff" * 20
    (found,) = fault(PAIR, tmp_path, store, "r.csv.gz", bytes(packed))
    assert found.startswith("not gzip data, or damaged, after line ")


# Parquet


def test_types_of_parquet(tmp_path: Path, store: Store) -> None:
    made = pa.table({"a": pa.array(["x", None, "y", "z"]), "b": pa.array([1, 2, 3, 4])})
    pq.write_table(made, tmp_path / "r.parquet")
    with pytest.raises(RecipeError) as caught:
        read(PAIR, tmp_path, store, "r.parquet")
    assert [d.message for d in caught.value.diagnostics] == [
        "row 1: `b` must be a string, not a number",
        "row 2: `a` must be a string, not null",
        "row 3: `b` must be a string, not a number",
        "row 4: `b` must be a string, not a number",
    ]


def test_columns_of_parquet(tmp_path: Path, store: Store) -> None:
    one = parquet([{"a": "1", "bb": "2"}])
    assert fault(PAIR, tmp_path, store, "r.parquet", one) == [
        "the file has no column `b` | did you mean `bb`?"
    ]


def test_a_text_of_parquet_that_is_not_utf8(tmp_path: Path, store: Store) -> None:
    bad = pa.array([b"ok", b"\xff"]).cast(pa.binary())
    texts = pa.StringArray.from_buffers(2, bad.buffers()[1], bad.buffers()[2])
    pq.write_table(pa.table({"text": texts}), tmp_path / "r.parquet")
    with pytest.raises(RecipeError) as caught:
        read(TEXT, tmp_path, store, "r.parquet")
    assert [d.message for d in caught.value.diagnostics] == ["row 2: a text is not UTF-8"]


def test_what_is_not_installed(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyarrow", "pyarrow.parquet", "compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    for name, need in (("r.parquet", "pyarrow"), ("r.csv.zst", "zstd")):
        (tmp_path / name).write_bytes(WRITERS["r.csv"](ROWS))
        with pytest.raises(EnvironmentLacks, match=need) as caught:
            read(PAIR, tmp_path, store, name)
        assert caught.value.hint.startswith("pip install ")
