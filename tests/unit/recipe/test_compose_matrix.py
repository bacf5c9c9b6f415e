"""A matrix as recipes: every combination once, under a name of its own, faults at their entries."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipec.cli.frontend import recipe_digest
from recipec.errors import RecipeError
from recipec.recipe.check import check
from recipec.recipe.compose import compose
from recipec.recipe.document import Document
from recipec.recipe.given import given_values
from recipec.recipe.matrix import MAX_MEMBERS, expand, has_matrix, recipes_of
from recipec.recipe.naming import LONGEST, LONGEST_STEM, member_names
from recipec.recipe.read import read
from recipec.recipe.schema import Recipe
from recipec.recipe.vocabulary import nearest_key, path_of

BASE = """\
name: legal
task: {type: summarization}
domain: {data: {train: data/train.jsonl, test: data/test.jsonl}}
architecture: {model: "path:models/tiny"}
"""


def document(*texts: str) -> Document:
    return compose([read(text.encode(), f"{'abc'[n]}.yaml") for n, text in enumerate(texts)])


def members(text: str) -> dict[str, Any]:
    return {member.name: member.document.value for member in expand(document(BASE + text))}


def recipes(text: str) -> tuple[Recipe, ...]:
    return recipes_of(document(BASE + text))


def refusal(*texts: str) -> str:
    with pytest.raises(RecipeError) as caught:
        recipes_of(document(*texts))
    return caught.value.render()


def said(text: str) -> str:
    """The only message and hint about BASE with this text."""
    lines = refusal(BASE + text).splitlines()
    assert lines[-1] == "1 error", lines
    return "\n".join(line for line in lines if "error: " in line or line.startswith("  hint: "))


def test_every_combination_the_last_axis_fastest() -> None:
    every = recipes("matrix: {training.learning_rate: [1e-4, 3e-4], method.rank: [4, 8]}\n")
    assert [(r.name, r.training.learning_rate, r.method.rank) for r in every] == [
        ("legal-lr1e-4-rank4", 1e-4, 4),
        ("legal-lr1e-4-rank8", 1e-4, 8),
        ("legal-lr3e-4-rank4", 3e-4, 4),
        ("legal-lr3e-4-rank8", 3e-4, 8),
    ]
    assert all(recipe.matrix == {} and recipe.extends is None for recipe in every)


def test_a_recipe_without_a_matrix_is_one() -> None:
    for text in ("", "matrix: {}\n"):
        assert not has_matrix(document(BASE + text))
        assert expand(document(BASE + text)) == ()
        (recipe,) = recipes(text)
        assert recipe == check(document(BASE))


def test_a_list_is_one_value_and_a_section_may_vary_whole() -> None:
    text = """\
matrix:
  method:
  - {type: full}
  - {type: lora, rank: 8, target_modules: [q, v]}
"""
    assert {name: value["method"] for name, value in members(text).items()} == {
        "legal-full": {"type": "full"},
        "legal-lora-rank8-q-v": {"type": "lora", "rank": 8, "target_modules": ["q", "v"]},
    }
    text = "matrix: {method.target_modules: [[q], [q, v]]}\n"
    assert [(r.name, r.method.target_modules) for r in recipes(text)] == [
        ("legal-q", ["q"]),
        ("legal-q-v", ["q", "v"]),
    ]


def test_data_models_and_versions_vary() -> None:
    head = BASE.replace("architecture", "#").replace("{train: data/train.jsonl, test", "{test")
    text = """\
matrix:
  domain.data.train: [data/a/train.jsonl, data/b/train.jsonl, data/small.jsonl]
  architecture.model: ["path:models/tiny-t5", "hub:google/T5.v1_1@0123456789"]
  image.versions.zope.interface: ["5.1", "5.2"]
"""
    every = expand(document(head + text))
    assert [member.name for member in every][:3] == [
        "legal-data-a-train-jsonl-tiny-t5-5-1",
        "legal-data-a-train-jsonl-tiny-t5-5-2",
        "legal-data-a-train-jsonl-t5-5-1",
    ]
    assert every[-1].name == "legal-small-t5-5-2"
    value: Any = every[-1].document.value
    assert value["domain"]["data"] == {"test": "data/test.jsonl", "train": "data/small.jsonl"}
    assert value["image"] == {"versions": {"zope.interface": "5.2"}}


def test_members_share_no_values() -> None:
    one, other = members("matrix: {method: [{ranks: {q: 4}}], training.seed: [1, 2]}\n").values()
    one["method"]["ranks"]["q"] = 99
    one["task"]["type"] = "x"
    assert other["method"]["ranks"]["q"] == 4
    assert other["task"]["type"] == "summarization"


def test_a_wrong_value_is_shown_at_its_entry_and_once() -> None:
    text = """\
matrix:
  training.learning_rate: [1e-4, fast]
  method.rank:
  - 4
  - 0
"""
    assert refusal(BASE + text) == (
        "a.yaml:6:34: error: `training.learning_rate` is 'fast'; it is a number\n"
        "    6 |   training.learning_rate: [1e-4, fast]\n"
        "      |                                  ^^^^\n"
        "  hint: Peak learning rate.\n"
        "\n"
        "a.yaml:9:5: error: `method.rank` is 0; it is at least 1\n"
        "    9 |   - 0\n"
        "      |     ^\n"
        "  hint: Rank of the low-rank update (lora, qlora).\n"
        "\n"
        "2 errors"
    )


def test_a_fault_of_all_members_is_told_once_and_of_some_with_the_first() -> None:
    text = "training: {epochs: 0}\nmatrix: {method.rank: [4, 8]}\n"
    assert said(text).startswith("a.yaml:5:20: error: `training.epochs` is 0; it is at least 1\n")
    text = "method: {rank: 4}\nmatrix: {method.type: [lora, full]}\n"
    assert "(in legal-full)" in refusal(BASE + text)


def test_an_item_inside_a_value_is_shown_at_its_place() -> None:
    text = "matrix: {method.target_modules: [[q], [v, 5]]}\n"
    assert said(text).startswith("a.yaml:5:43: error: `method.target_modules[1]` is 5; it is text")
    text = "matrix:\n  method:\n  - {type: full}\n  - {type: lora, rnak: 4}\n"
    assert said(text).startswith("a.yaml:8:18: error: unknown key `rnak` in `method`")


def test_an_empty_value_is_refused_at_its_entry() -> None:
    assert said("matrix:\n  training.seed:\n  - 1\n  -\n") == (
        "a.yaml:8:4: error: `training.seed` is empty; it is a whole number\n"
        "  hint: give it a value, or remove the line to take the default"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("matrix:\n", "5:1: error: `matrix` is empty; it is a section (a mapping)"),
        ("matrix: 5\n", "5:9: error: `matrix` is 5; it is a section (a mapping)"),
        ("matrix: [a]\n", "5:9: error: `matrix` is a list; it is a section (a mapping)"),
        ("matrix: {method.rank: 4}\n", "5:23: error: `matrix.method.rank` is 4; it is a list"),
        ("matrix: {method.rank: []}\n", "5:23: error: `matrix.method.rank` is empty"),
        ("matrix: {method.rank: {a: 1}}\n", "5:23: error: `matrix.method.rank` is a section (a"),
    ],
)
def test_a_matrix_of_another_form(text: str, message: str) -> None:
    assert said(text).startswith(f"a.yaml:{message}")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("training.learning_rte", "did you mean `training.learning_rate`?"),
        ("Training.Learning-Rate", "did you mean `training.learning_rate`?"),
        ("learning_rate", "did you mean `training.learning_rate`?"),
        ("lerning_rate", "did you mean `training.learning_rate`?"),
        ("method.seed", "did you mean `training.seed`?"),
        ("trainng", "did you mean `training`?"),
        ("ключ", "write the section too: `training.seed`"),
        ("training.", "did you mean `training`?"),
        (".training", "did you mean `training`?"),
        ("training..seed", "did you mean `training.seed`?"),
        ("training.seed.x", "did you mean `training.seed`?"),
        ("'\\x1b[31m'", "write the section too: `training.seed`"),
    ],
)
def test_an_unknown_key_gets_the_nearest(key: str, hint: str) -> None:
    text = said(f"matrix: {{{key}: [1]}}\n")
    assert "a.yaml:5:10: error: a recipe has no key `" in text
    assert text.endswith(f"\n  hint: {hint}")
    assert "\x1b" not in text


@pytest.mark.parametrize("key", ["name", "recipe", "extends", "matrix"])
def test_a_key_that_cannot_vary(key: str) -> None:
    assert f"5:10: error: `{key}` cannot vary in a matrix" in said(f"matrix: {{{key}: [a]}}\n")


def test_a_key_that_is_set_too_is_told_with_both_places() -> None:
    text = "method: {rank: 16}\nmatrix:\n  training.seed: [1]\n  method.rank: [4, 8]\n"
    assert refusal(BASE + text) == (
        "a.yaml:8:3: error: `method.rank` is in the matrix, and is set as well (a.yaml:5:10)\n"
        "    8 |   method.rank: [4, 8]\n"
        "      |   ^^^^^^^^^^^\n"
        "  hint: keep one of them\n"
        "\n"
        "1 error"
    )
    text = "method: {rank: 16}\nmatrix: {method: [{rank: 4}]}\n"
    assert "`method` is in the matrix, and is set as well (a.yaml:5:1)" in said(text)
    text = "method: lora\nmatrix: {method.rank: [4]}\n"
    assert "`method.rank` is in the matrix, and is set by `method` as well (a.yaml:5:1)" in said(
        text
    )
    text = "matrix: {method: [{rank: 4}], method.type: [lora]}\n"
    assert "`method.type` is in the matrix, and so is all of `method` (a.yaml:5:10)" in said(text)


@pytest.mark.parametrize(
    ("values", "column"),
    [("[8, 4, 8]", 30), ("[8, 8.0]", 27), ("[[q], [q]]", 29), ("[{a: 1}, {a: 1}]", 32)],
)
def test_a_value_that_stands_twice(values: str, column: int) -> None:
    message = "this value of `method.rank` stands here a second time (a.yaml:5:24)"
    text = said(f"matrix: {{method.rank: {values}}}\n")
    assert text == f"a.yaml:5:{column}: error: {message}\n  hint: keep one of them"


def test_one_and_true_are_two_values() -> None:
    assert len(members("matrix: {method.dora: [true, 1]}\n")) == 2


def test_too_many_combinations() -> None:
    seeds = json.dumps(list(range(MAX_MEMBERS)))
    assert len(members(f"matrix: {{training.seed: {seeds}}}\n")) == MAX_MEMBERS
    text = f"matrix: {{training.seed: {seeds}, method.rank: [1, 2, 3, 4]}}\n"
    assert said(text) == (
        "a.yaml:5:1: error: the matrix has 1,024 combinations; at most 256\n"
        "  hint: give it fewer values, or make several recipes of it"
    )
    many = json.dumps(list(range(5000)))
    text = f"matrix: {{training.seed: {many}, method.rank: {many}, training.epochs: [1]}}\n"
    assert "25,000,000 combinations" in said(text)


# With extends


def test_what_stands_in_the_extending_recipe_takes_precedence() -> None:
    base = BASE + "training: {learning_rate: 1e-3, seed: 3}\n"
    top = "extends: b\nname: top\nmatrix: {training.learning_rate: [1e-4, 3e-4]}\n"
    every = recipes_of(document(top, base))
    assert [(r.name, r.training.learning_rate, r.training.seed) for r in every] == [
        ("top-lr1e-4", 1e-4, 3),
        ("top-lr3e-4", 3e-4, 3),
    ]
    base = BASE + "matrix: {training.learning_rate: [1e-4, 3e-4], method.rank: [4, 8]}\n"
    top = "extends: b\nname: top\ntraining: {learning_rate: 5e-4}\n"
    every = recipes_of(document(top, base))
    assert [(r.name, r.training.learning_rate) for r in every] == [
        ("top-rank4", 5e-4),
        ("top-rank8", 5e-4),
    ]


def test_axes_of_base_and_recipe_join_and_the_recipes_values_replace() -> None:
    base = BASE + "matrix: {training.seed: [1, 2], method.rank: [4]}\n"
    top = "extends: b\nname: top\nmatrix: {method.rank: [8, 16]}\n"
    assert [r.name for r in recipes_of(document(top, base))] == [
        "top-seed1-rank8",
        "top-seed1-rank16",
        "top-seed2-rank8",
        "top-seed2-rank16",
    ]
    top = "extends: b\nname: top\nmatrix: {method: [{type: full}, {type: lora}]}\n"
    assert [r.name for r in recipes_of(document(top, base))] == [
        "top-seed1-full",
        "top-seed1-lora",
        "top-seed2-full",
        "top-seed2-lora",
    ]


def test_of_two_keys_that_say_one_thing_the_extending_recipe_has_one() -> None:
    base = BASE + "training: {epochs: 3, seed: 2}\n"
    top = "extends: b\nname: top\nmatrix: {training.steps: [10, 20]}\n"
    every = recipes_of(document(top, base))
    assert [(r.training.steps, r.training.epochs, r.training.seed) for r in every] == [
        (10, None, 2),
        (20, None, 2),
    ]
    base = BASE + "matrix: {training.epochs: [1, 2], training.seed: [5]}\n"
    for line in ("training: {steps: 10}", "matrix: {training.steps: [10]}"):
        (one,) = recipes_of(document(f"extends: b\nname: top\n{line}\n", base))
        assert (one.training.steps, one.training.epochs, one.training.seed) == (10, None, 5)


def test_part_of_what_a_base_varies_whole_is_a_conflict() -> None:
    base = BASE + "matrix: {method: [{type: full}, {type: lora}]}\n"
    for line, column in (("method: {rank: 4}", 1), ("matrix: {method.rank: [4]}", 10)):
        text = refusal(f"extends: b\nname: top\n{line}\n", base)
        assert text.startswith(
            f"a.yaml:3:{column}: error: the matrix of the base varies all of `method`"
            " (b.yaml:5:10), and this sets a part of it\n"
        )


def test_a_wrong_value_in_the_matrix_of_a_base_is_shown_there() -> None:
    base = BASE + "matrix: {method.rank: [4, zero]}\n"
    text = refusal("extends: b\nname: top\ntraining: {epochs: 0}\n", base)
    assert [line for line in text.splitlines() if "error: " in line] == [
        "a.yaml:3:20: error: `training.epochs` is 0; it is at least 1",
        "b.yaml:5:27: error: `method.rank` is 'zero'; it is a whole number",
    ]
    assert "    5 | matrix: {method.rank: [4, zero]}\n" in text


# Names


@pytest.mark.parametrize(
    ("key", "value", "spelled"),
    [
        ("training.learning_rate", 1e-4, "lr1e-4"),
        ("training.learning_rate", 0.00025, "lr25e-5"),
        ("training.learning_rate", 1.5, "lr15e-1"),
        ("training.learning_rate", 2.0, "lr2"),
        ("training.learning_rate", 1e-300, "lr1e-300"),
        ("method.rank", 16, "rank16"),
        ("method.rank", -3, "rankm3"),
        ("training.steps", 1000, "steps1000"),
        ("training.steps", 10**9, "steps1e9"),
        ("training.warmup_steps", 0, "ws0"),
        ("method.dora", True, "dora"),
        ("method.dora", False, "no-dora"),
        ("method.type", "lora", "lora"),
        ("training.schedule", "warmup-stable-decay", "warmup-stable-decay"),
        ("architecture.model", "path:models/tiny-t5", "tiny-t5"),
        ("architecture.model", "hub:google/flan@0a1b2c", "flan"),
        ("domain.data.train", "data/train.jsonl.gz", "train-jsonl"),
        ("method.also_train", ["head", "norms"], "head-norms"),
        ("image.versions.transformers", "5.23.0", "5-23-0"),
        ("domain.name", "Ünïcode Straße", "unicode-strae"),
        ("evaluation.at_least.rougeL", 0.4, "rougel4e-1"),
    ],
)
def test_how_values_are_spelled(key: str, value: Any, spelled: str) -> None:
    assert member_names("n", [key], [{key: value}]) == (f"n-{spelled}",)


def test_what_cannot_be_spelled_gets_a_digest() -> None:
    odd: list[Any] = ["漢字", "", [], "x" * 99, "../..", {}]
    for value in odd:
        (name,) = member_names("n", ["domain.name"], [{"domain.name": value}])
        assert re.fullmatch("n-(x{15}-)?[0-9a-f]{8}", name), value


def test_values_that_would_be_spelled_alike_are_told_apart() -> None:
    key = "domain.data.train"
    paths = ["a/x.jsonl", "b/x.jsonl", "c/y.jsonl"]
    names = member_names("n", [key], [{key: path} for path in paths])
    assert names == ("n-a-x-jsonl", "n-b-x-jsonl", "n-y")
    texts = ["a b", "a-b", "a_b"]
    names = member_names("n", [key], [{key: text} for text in texts])
    assert names[0] == "n-a-b"
    assert len(set(names)) == 3


def test_a_sweep_that_grows_keeps_its_names() -> None:
    few = [*members("matrix: {method.rank: [4], training.seed: [1]}\n")]
    more = [*members("matrix: {method.rank: [2, 4, 8], training.seed: [0, 1]}\n")]
    assert few == ["legal-rank4-seed1"]
    assert set(few) < set(more)


def test_a_name_that_leaves_no_room() -> None:
    text = "matrix: {training.seed: [1]}\n"
    longest = BASE.replace("legal", "n" * LONGEST_STEM)
    (member,) = recipes_of(document(longest + text))
    assert member.name == f"{'n' * LONGEST_STEM}-seed1"
    assert "`name` has 49 characters; a recipe with a matrix has at most 48" in refusal(
        BASE.replace("legal", "n" * 49) + text
    )


def test_a_name_that_is_none_is_refused_once() -> None:
    text = "matrix: {training.seed: [1, 2]}\n"
    wrong = refusal(BASE.replace("legal", "Not A Name") + text)
    assert wrong.count("error: ") == 1
    assert wrong.startswith("a.yaml:1:7: error: `name` is 'Not A Name'")
    assert "`name` is missing" in refusal(BASE.partition("\n")[2] + text)


_values = st.recursive(
    st.integers()
    | st.booleans()
    | st.text(max_size=30)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["method.rank", "training.learning_rate", "domain.data.train", "method"]),
        st.lists(
            _values, min_size=1, max_size=4, unique_by=lambda v: json.dumps(v, sort_keys=True)
        ),
        min_size=1,
    ),
    st.text("abc", min_size=1, max_size=LONGEST_STEM),
)
def test_every_combination_has_a_name_that_is_one(axes: dict[str, list[Any]], stem: str) -> None:
    import itertools

    every = [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*axes.values())]
    names = member_names(stem, list(axes), every)
    assert len(set(names)) == len(every)
    for name in names:
        assert re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name)
        assert len(name) <= LONGEST
        assert name.startswith(f"{stem}-")
    assert member_names(stem, list(axes), every) == names


# One value of a matrix is the value


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "training.learning_rate": st.sampled_from([1e-5, 0.1, 1]),
            "training.seed": st.integers(0, 10**6),
            "training.epochs": st.integers(1, 100),
            "method.rank": st.integers(1, 64),
            "method.target_modules": st.lists(st.text("qv", min_size=1), min_size=1, max_size=3),
            "method.dora": st.booleans(),
            "domain.data.validation": st.sampled_from(["data/v.jsonl", "10%"]),
            "evaluation.at_least.rougeL": st.floats(0, 1),
            "image.versions.peft": st.sampled_from(["0.21.0", "0.20.0"]),
        },
    )
)
def test_a_matrix_of_one_value_each_is_the_plain_recipe(chosen: dict[str, Any]) -> None:
    axes = {key: [value] for key, value in chosen.items()}
    text = BASE + (f"matrix: {json.dumps(axes)}\n" if axes else "")
    (swept,) = recipes_of(document(text))
    plain: Any = document(BASE).value
    plain["name"] = swept.name
    for key, value in chosen.items():
        path = path_of(key)
        assert path is not None
        section = plain
        for part in path[:-1]:
            section = section.setdefault(part, {})
        section[path[-1]] = value
    written = check(read(json.dumps(plain).encode(), "plain.yaml"))
    assert given_values(swept) == given_values(written)
    assert recipe_digest(swept) == recipe_digest(written)


# The paths of the language


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("training", ("training",)),
        ("training.seed", ("training", "seed")),
        ("domain.data.train", ("domain", "data", "train")),
        ("training.early_stopping.patience", ("training", "early_stopping", "patience")),
        ("image.versions.zope.interface", ("image", "versions", "zope.interface")),
        ("method.ranks.layer\\.1\\..*", ("method", "ranks", "layer\\.1\\..*")),
        ("training.class_weights", ("training", "class_weights")),
        ("", None),
        (".", None),
        ("training.", None),
        ("training..seed", None),
        ("training.seed.0", None),
        ("method.target_modules.0", None),
        ("nothing", None),
    ],
)
def test_dotted_keys(key: str, path: tuple[str, ...] | None) -> None:
    assert path_of(key) == path


@given(st.text(max_size=60))
def test_any_text_is_a_key_or_is_not(key: str) -> None:
    path = path_of(key)
    assert path is None or ".".join(map(str, path)) == key
    assert isinstance(nearest_key(key), str)
