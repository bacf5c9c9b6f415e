"""Parts of a row: each type, what is wrong with it, and where it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recipec.errors import RecipeError
from recipec.pins.data import DataFacts, read_splits
from recipec.pins.data.labels import bio_fault
from recipec.pins.data.wanted import Wanted
from recipec.recipe.splits import Split
from recipec.store import Store

TEXT = Wanted(columns=(("text", "text"),))
LABEL = Wanted(columns=(("text", "text"), ("label", "label")))
MULTI = Wanted(columns=(("text", "text"), ("label", "label")), multi_label=True)
TAGS = Wanted(columns=(("words", "words"), ("tags", "tags")))
CHAT = Wanted(columns=(("messages", "messages"),))
ANSWERS = Wanted(columns=(("question", "question"), ("context", "context"), ("answers", "answers")))
GOOD_TAGS = {"words": ["a", "b"], "tags": ["B-X", "O"]}


def put(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def read(wanted: Wanted, project: Path, store: Store, **rows: list[dict[str, Any]]) -> DataFacts:
    for name, some in rows.items():
        put(project / f"{name}.jsonl", some)
    splits = [Split(name=name, paths=(f"{name}.jsonl",)) for name in rows]
    return read_splits(splits, wanted, project=project, store=store)


def rows_of(facts: DataFacts, split: str = "train") -> list[dict[str, Any]]:
    file = next(file for file in facts.files if file.split == split)
    lines = facts.sources[file.sha256].read_text(encoding="utf-8").split("\n")[:-1]
    assert len(lines) == file.rows
    return [json.loads(line) for line in lines]


def faults(wanted: Wanted, project: Path, store: Store, **rows: list[dict[str, Any]]) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read(wanted, project, store, **rows)
    return [
        f"{d.file}:{d.line}: {d.message} | {d.hint}"
        if d.line
        else f"{d.file}: {d.message} | {d.hint}"
        for d in caught.value.diagnostics
    ]


# Labels


def test_labels_are_counted_in_sorted_order(tmp_path: Path, store: Store) -> None:
    rows = [{"text": str(n), "label": label} for n, label in enumerate(["b", "a", "b", "c"])]
    facts = read(LABEL, tmp_path, store, train=rows)
    assert facts.labels == ("a", "b", "c")
    assert facts.label_counts == (1, 2, 1)
    assert facts.files[0].sources == ()


@pytest.mark.parametrize(
    ("values", "texts"), [([1, 0, 10], ["1", "0", "10"]), ([True, False], ["true", "false"])]
)
def test_numbers_and_truth_values_become_texts(
    tmp_path: Path, store: Store, values: list[object], texts: list[str]
) -> None:
    rows = [{"text": "t", "label": value} for value in values]
    facts = read(LABEL, tmp_path, store, train=rows)
    assert facts.labels == tuple(sorted(texts))
    assert [row["label"] for row in rows_of(facts)] == texts
    assert facts.files[0].normal_form == 1
    assert [source.path for source in facts.files[0].sources] == ["train.jsonl"]


def test_labels_of_two_types(tmp_path: Path, store: Store) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "t", "label": "0"},
        {"text": "t", "label": 1},
        {"text": "t", "label": True},
    ]
    assert faults(LABEL, tmp_path, store, train=rows) == [
        "train.jsonl:2: `label` is a number here and a string at train.jsonl:1"
        " | a column has one type of value",
        "train.jsonl:3: `label` is a boolean here and a string at train.jsonl:1"
        " | a column has one type of value",
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "`label` must be a string, not a number"),
        (None, "`label` must be a string, not null"),
        (["a"], "`label` must be a string, not an array"),
        (" ", "`label` is empty"),
        (1 << 63, "`label` is a number of more than 64 bits"),
        ("a\0", "`label` holds a NUL character"),
    ],
)
def test_what_is_no_label(tmp_path: Path, store: Store, value: object, message: str) -> None:
    rows = [{"text": "t", "label": value}]
    assert faults(LABEL, tmp_path, store, train=rows)[0].startswith(f"train.jsonl:1: {message} | ")


def test_the_recipe_s_own_labels(tmp_path: Path, store: Store) -> None:
    closed = Wanted(columns=LABEL.columns, labels=("yes", "no", "perhaps"))
    rows = [{"text": "t", "label": label} for label in ("no", "yes", "no")]
    facts = read(closed, tmp_path, store, train=rows)
    assert (facts.labels, facts.label_counts) == (("yes", "no", "perhaps"), (1, 2, 0))
    assert faults(closed, tmp_path, store, train=[*rows, {"text": "t", "label": "perhabs"}]) == [
        "train.jsonl:4: label 'perhabs' is not one of `task.labels` | did you mean 'perhaps'?"
    ]
    assert faults(closed, tmp_path, store, train=[*rows, {"text": "t", "label": "X"}]) == [
        "train.jsonl:4: label 'X' is not one of `task.labels` | `task.labels` has yes, no, perhaps"
    ]
    unlearnt = [{"text": "t", "label": "perhaps"}]
    assert faults(closed, tmp_path, store, train=rows, validation=unlearnt) == [
        "validation.jsonl:1: label 'perhaps' does not occur in train.jsonl"
        " | a model learns only the labels it is trained on"
    ]


def test_many_labels(tmp_path: Path, store: Store) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "1", "label": ["a", "b"]},
        {"text": "2", "label": []},
        {"text": "3", "label": ["b"]},
    ]
    facts = read(MULTI, tmp_path, store, train=rows)
    assert (facts.labels, facts.label_counts) == (("a", "b"), (1, 2))
    assert rows_of(facts) == rows
    assert faults(MULTI, tmp_path, store, train=[{"text": "t", "label": ["a", "b", "a"]}]) == [
        "train.jsonl:1: `label` has 'a' twice | remove one of them"
    ]
    assert faults(MULTI, tmp_path, store, train=[{"text": "t", "label": "a"}]) == [
        "train.jsonl:1: `label` must be a list, not a string"
        " | with `task.multi_label` a row has a list of labels"
    ]
    assert faults(MULTI, tmp_path, store, train=[{"text": "t", "label": []}]) == [
        "train.jsonl: no row has a label | classification needs at least one label"
    ]


def test_a_column_of_anything_but_labels(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipec.pins.data.labels.MOST_LABELS", 3)
    rows = [{"text": "t", "label": str(n)} for n in range(4)]
    assert faults(LABEL, tmp_path, store, train=rows) == [
        "train.jsonl: more than 3 different values of `label`"
        " | is it the column with the labels? `task.fields` names it"
    ]


# Words and tags


def test_tags_are_counted_by_word(tmp_path: Path, store: Store) -> None:
    rows = [GOOD_TAGS, {"words": ["c", "d", "e"], "tags": ["B-X", "I-X", "O"]}]
    facts = read(TAGS, tmp_path, store, train=rows)
    assert (facts.labels, facts.label_counts) == (("B-X", "I-X", "O"), (2, 1, 2))
    assert rows_of(facts) == rows


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (["O", "I-X"], "tag 2 of the row, 'I-X', follows 'O'"),
        (["I-X", "O"], "tag 1 of the row, 'I-X', is the row's first"),
        (["B-X", "I-Y"], "tag 2 of the row, 'I-Y', follows 'B-X'"),
        (["B-X", "S-X"], "tag 2 of the row, 'S-X', is not BIO"),
        (["B-X", "B-"], "tag 2 of the row, 'B-', is not BIO"),
        (["B-X", "noun"], "tag 2 of the row, 'noun', is not BIO"),
    ],
)
def test_broken_bio(tmp_path: Path, store: Store, tags: list[str], message: str) -> None:
    rows = [GOOD_TAGS, {"words": ["a", "b"], "tags": tags}, GOOD_TAGS]
    found = faults(TAGS, tmp_path, store, train=rows)
    assert [fault.partition(" | ")[0] for fault in found] == [f"train.jsonl:2: {message}"]


def test_bio_is_told_before_it_is_known(tmp_path: Path, store: Store) -> None:
    """The tags of the first rows are broken BIO only because a later row has a prefix."""
    rows = [{"words": ["a"], "tags": ["noun"]}] * 25 + [GOOD_TAGS]
    found = faults(TAGS, tmp_path, store, train=rows)
    assert len(found) == 21
    assert found[0] == "train.jsonl: the tags of 5 more rows are not BIO | "


def test_tags_without_a_scheme(tmp_path: Path, store: Store) -> None:
    rows = [{"words": ["a", "b"], "tags": ["NOUN", "VERB"]}, {"words": ["c"], "tags": ["O"]}]
    assert read(TAGS, tmp_path, store, train=rows).labels == ("NOUN", "O", "VERB")


def test_good_bio() -> None:
    assert bio_fault(["O", "B-X", "I-X", "I-X", "B-X", "B-Y", "I-Y", "O"]) is None
    assert bio_fault(["B-a-b", "I-a-b"]) is None
    assert bio_fault([]) is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"words": ["a"], "tags": ["O", "O"]}, "the row has 1 word and 2 tags"),
        ({"words": ["a", 1], "tags": ["O", "O"]}, "`words[1]` must be a string, not a number"),
        ({"words": "a b", "tags": ["O", "O"]}, "`words` must be a list, not a string"),
        ({"words": ["a", ""], "tags": ["O", "O"]}, "a word is empty"),
        ({"words": ["a"], "tags": [""]}, "a tag is empty"),
    ],
)
def test_words_that_do_not_fit(
    tmp_path: Path, store: Store, row: dict[str, Any], message: str
) -> None:
    assert faults(TAGS, tmp_path, store, train=[row])[0].startswith(f"train.jsonl:1: {message} | ")


def test_a_tag_that_training_lacks(tmp_path: Path, store: Store) -> None:
    other = [GOOD_TAGS, {"words": ["a"], "tags": ["B-Y"]}]
    assert faults(TAGS, tmp_path, store, train=[GOOD_TAGS], test=other) == [
        "test.jsonl:2: tag 'B-Y' does not occur in train.jsonl"
        " | a model learns only the labels it is trained on"
    ]


# Chats


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def test_a_chat_keeps_roles_and_contents(tmp_path: Path, store: Store) -> None:
    chat = [turn("system", ""), turn("user", "q"), turn("assistant", "a")]
    facts = read(CHAT, tmp_path, store, train=[{"messages": chat}])
    assert facts.files[0].sources == ()
    more = [turn("user", "q", name="Al"), turn("tool", "4"), turn("assistant", "a")]
    facts = read(CHAT, tmp_path, store, train=[{"messages": more}])
    assert rows_of(facts) == [
        {"messages": [turn("user", "q"), turn("tool", "4"), turn("assistant", "a")]}
    ]


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ("hi", "`messages` must be a list of turns, not a string"),
        ([], "`messages` has no turn of the assistant with text"),
        ([turn("user", "q")], "`messages` has no turn of the assistant with text"),
        (
            [turn("user", "q"), turn("assistant", " ")],
            "`messages` has no turn of the assistant with text",
        ),
        ([turn("assistant", "a")], "`messages` begins with a turn of the assistant"),
        ([turn("system", "s"), turn("tool", "a")], "`messages` begins with a turn of the tool"),
        (
            [turn("user", "q"), turn("system", "s"), turn("assistant", "a")],
            "`messages[1]` is a system prompt after the chat began",
        ),
        ([turn("human", "q")], "`messages[0].role` is 'human'"),
        ([turn("user", None)], "`messages[0].content` must be a string, not null"),
        ([turn("user", [{"text": "q"}])], "`messages[0].content` must be a string, not an array"),
        (["q"], "`messages[0]` must be an object, not a string"),
        ([{"from": "human", "value": "q"}], "`messages[0]` has no `role`"),
        (
            [turn("user", "q"), turn("assistant", "", tool_calls=[1])],
            "`messages[1]` has `tool_calls`, which this version does not train on",
        ),
    ],
)
def test_what_is_no_chat(tmp_path: Path, store: Store, chat: Any, message: str) -> None:
    found = faults(CHAT, tmp_path, store, train=[{"messages": chat}])
    assert found[0].startswith(f"train.jsonl:1: {message} | ")


# Answers


def asked(text: list[Any], start: list[Any]) -> dict[str, Any]:
    context = "Zoé paid 5 € on Monday, and 5 € more."
    return {
        "question": "q",
        "context": context,
        "answers": {"text": text, "answer_start": start},
    }


def test_answers_stand_where_they_say(tmp_path: Path, store: Store) -> None:
    rows = [asked(["5 €", "5 €"], [9, 28]), asked([], [])]
    facts = read(ANSWERS, tmp_path, store, train=rows)
    assert rows_of(facts) == rows
    assert facts.files[0].sources == ()


@pytest.mark.parametrize(
    ("row", "message", "hint"),
    [
        (
            asked(["Monday"], [19]),
            "the answer 'Monday' does not begin at character 19",
            "it begins at character 16; answer_start counts characters, not bytes",
        ),
        (
            asked(["5 €"], [0]),
            "the answer '5 €' does not begin at character 0",
            "it begins at character 9, and once more after that",
        ),
        (
            asked(["Tuesday"], [16]),
            "the answer 'Tuesday' is not in the context",
            "an answer is a part of the context, letter by letter",
        ),
        (
            asked(["Monday"], []),
            "`answers` has 1 text and 0 starts",
            "each text has its start",
        ),
        (
            asked([""], [0]),
            "`answers` has an empty text",
            'an unanswerable question has {"text": [], "answer_start": []}',
        ),
        (
            asked(["Monday"], [-1]),
            "`answers.answer_start` holds -1",
            "it counts characters from the context's first, which is 0",
        ),
        (
            asked(["Monday"], [16.0]),
            "`answers.answer_start` holds 16.0",
            "it counts characters from the context's first, which is 0",
        ),
        (
            {"question": "q", "context": "c", "answers": ["c"]},
            "`answers` must be an object, not an array",
            'write {"text": ["..."], "answer_start": [0]}',
        ),
        (
            {"question": "q", "context": "c", "answers": {"text": "c", "answer_start": 0}},
            "`answers.text` must be a list, not a string",
            'write {"text": ["..."], "answer_start": [0]}',
        ),
    ],
)
def test_answers_that_do_not_fit(
    tmp_path: Path, store: Store, row: dict[str, Any], message: str, hint: str
) -> None:
    assert faults(ANSWERS, tmp_path, store, train=[row]) == [f"train.jsonl:1: {message} | {hint}"]


# Empty rows, and rows in two splits


def test_empty_rows_are_left_out_and_counted(tmp_path: Path, store: Store) -> None:
    rows = [{"text": str(n), "unread": 1} for n in range(30)]
    rows[3]["text"], rows[7]["text"] = " \n", ""
    facts = read(TEXT, tmp_path, store, train=rows)
    assert [row["text"] for row in rows_of(facts)] == [str(n) for n in range(30) if n not in {3, 7}]
    assert facts.notices == ("train: 2 empty rows are left out; 28 stay",)
    again = read(TEXT, tmp_path, store, train=rows)
    assert again == facts
    strict = Wanted(columns=TEXT.columns, max_lost=0.05)
    assert faults(strict, tmp_path, store, train=rows) == [
        "train.jsonl: 2 of 30 rows are empty, and training.max_lost allows 0.05 of them"
        " | the first is train.jsonl:4; fill or remove them, or raise training.max_lost"
    ]


def test_rows_that_are_all_empty(tmp_path: Path, store: Store) -> None:
    any_share = Wanted(columns=TEXT.columns, max_lost=1.0)
    assert faults(any_share, tmp_path, store, train=[{"text": ""}]) == [
        "train.jsonl: 1 of 1 rows are empty, and training.max_lost allows 1 of them"
        " | the first is train.jsonl:1; fill or remove them"
    ]


def test_rows_in_two_splits_are_told(tmp_path: Path, store: Store) -> None:
    rows = [{"text": str(n)} for n in range(10)]
    extra: list[dict[str, Any]] = [{"text": "5", "other": True}, {"text": "5"}, {"text": "x"}]
    facts = read(TEXT, tmp_path, store, train=rows, validation=extra, test=[{"text": "y"}])
    assert facts.notices == (
        "validation: 2 of its 3 rows stand in train too, so its metrics say less about new texts",
    )
    assert [file.sources for file in facts.files] == [(), (), ()]


def test_faults_of_every_split_come_at_once(tmp_path: Path, store: Store) -> None:
    wrong: list[dict[str, Any]] = [{"text": 1}]
    assert len(faults(TEXT, tmp_path, store, train=wrong, validation=wrong, test=wrong)) == 3
