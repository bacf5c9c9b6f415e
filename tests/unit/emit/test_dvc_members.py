"""Stages of a matrix in a dvc.yaml: written together, and removed when their member has left."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from recipec.emit import dvc
from recipec.errors import RecipeError

RECIPE = "recipes/s w.yaml"


def stages_of(*members: str, recipe: str = RECIPE) -> dict[str, dvc.Stage]:
    made: dict[str, dvc.Stage] = {}
    for member in members:
        made |= dvc.stages(
            member,
            dvc.StagePaths(
                recipe=f"{recipe}:{member}",
                lock=f"recipes/{member}.lock.json",
                build=f"build/{member}",
                train_inputs=("data/train.jsonl",),
                evaluate_inputs=("data/test.jsonl",),
                options=" -o out",
            ),
        )
    return made


def plain(name: str, recipe: str = RECIPE) -> dict[str, dvc.Stage]:
    paths = dvc.StagePaths(
        recipe=recipe, lock="l", build=f"build/{name}", train_inputs=(), evaluate_inputs=()
    )
    return dvc.stages(name, paths)


def merged(before: str, stages: dict[str, dvc.Stage], without: tuple[str, ...] = ()) -> str:
    return dvc.merge(before.encode(), stages, file="dvc.yaml", without=without).decode()


def left(text: str, *names: str, keep: frozenset[str] = frozenset()) -> dict[str, str]:
    found = dvc.left(text.encode(), recipe=RECIPE, names=set(names), keep=keep, file="dvc.yaml")
    return dict(found)


def loaded(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_a_member_is_named_in_the_command() -> None:
    (train, evaluate) = stages_of("m-1").values()
    assert train["cmd"] == "recipec run 'recipes/s w.yaml:m-1' --stage train -o out"
    assert evaluate["cmd"] == "recipec run 'recipes/s w.yaml:m-1' --stage evaluate -o out"


def test_all_stages_at_once_are_the_same_as_one_by_one() -> None:
    before = "# head\nstages:\n  mine: {cmd: x}  # kept\n\n# tail\nvars: []\n"
    stages = stages_of("b", "a", "c")
    together = merged(before, stages)
    one_by_one = before
    for name, stage in stages.items():
        one_by_one = merged(one_by_one, {name: stage})
    assert together == one_by_one
    assert list(loaded(together)["stages"]) == ["mine", *stages]
    assert merged(together, stages) == together


def test_several_changed_stages_and_a_new_one_at_once() -> None:
    before = merged("stages:\n  own:\n    cmd: x\n", stages_of("a", "b", "c"))
    before = before.replace("data/train.jsonl", "data/old.jsonl").replace(
        "  b-train:\n", "  b-train:  # mine\n    desc: words\n"
    )
    after = merged(before, stages_of("a", "b", "c", "d"))
    assert "old.jsonl" not in after
    assert "  b-train:  # mine\n" in after
    found = loaded(after)["stages"]
    assert found.pop("own") == {"cmd": "x"}
    assert found["b-train"].pop("desc") == "words"
    assert found == stages_of("a", "b", "c", "d")


def test_stages_of_a_long_sweep_are_written_in_seconds() -> None:
    members = [f"sweep-lr{n}e-4-rank8" for n in range(24)]
    started = time.perf_counter()
    text = merged("stages:\n  mine: {cmd: x}\n", stages_of(*members))
    assert time.perf_counter() - started < 10  # one by one it is half a minute
    assert len(loaded(text)["stages"]) == 2 * len(members) + 1


def test_stages_of_former_members_are_found_and_nothing_else() -> None:
    text = merged(
        "stages:\n"
        "  mine: {cmd: recipec run 'recipes/s w.yaml:gone' --stage train}\n"
        "  gone-other: {cmd: recipec run 'recipes/s w.yaml:gone' --stage train}\n"
        "  gone-train: {cmd: recipec run recipes/other.yaml:gone --stage train}\n"
        "  list-train: {cmd: [a, b]}\n"
        '  torn-train: {cmd: "recipec run \'recipes"}\n'
        "  s-train: {cmd: recipec run 'recipes/s w.yaml' --stage train --engine host}\n"
        "  foreach-train: {foreach: [1], do: {cmd: x}}\n",
        stages_of("a", "b", "former"),
    )
    assert left(text, "a", "b") == {"former-train": "former", "former-evaluate": "former"}
    assert left(text, "a", "b", "former") == {}
    assert left(text, "a", "b", keep=frozenset({"former-train"})) == {"former-evaluate": "former"}
    assert left("", "a") == {}
    assert left("vars: []\n", "a") == {}
    assert left("stages:\n", "a") == {}


def test_a_recipe_that_becomes_a_matrix_and_back() -> None:
    text = merged("", plain("s"))
    assert left(text, "s-1") == {"s-train": "s", "s-evaluate": "s"}
    assert left(text, "") == {}
    text = merged("", stages_of("s-1"))
    assert left(text, "") == {"s-1-train": "s-1", "s-1-evaluate": "s-1"}


def test_what_is_no_dvc_yaml_is_refused() -> None:
    with pytest.raises(RecipeError):
        left("- a\n", "a")


KEPT = "# head\nstages:\n  one:  # own\n    cmd: x  # why\n  # before\n"
AFTER = "  # after\n  two: {cmd: y}\n# tail\nvars: []\n"


def test_removed_stages_leave_every_other_line() -> None:
    block = merged("", stages_of("a", "b")).removeprefix("stages:\n")
    text = KEPT + block + AFTER
    gone = tuple(stages_of("a", "b"))
    assert merged(text, {}, gone) == KEPT + AFTER
    assert merged(text, {}, gone[1:3]) == merged(KEPT + block + AFTER, {}, gone[2:0:-1])
    assert list(loaded(merged(text, {}, gone[1:3]))["stages"]) == ["one", gone[0], gone[3], "two"]
    assert merged(text, {}, ("nothing",)) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("stages: {a: {cmd: x}, b: {cmd: y}, c: {cmd: z}}\n", "stages: {b: {cmd: y}}\n"),
        ("{stages: {c: {cmd: z}, a: {cmd: x}}, vars: [v]}\n", "{stages: {}, vars: [v]}\n"),
        ("stages:\n  b:\n    cmd: y\n  a: {cmd: x}\n  c:\n", "stages:\n  b:\n    cmd: y\n"),
        ("stages:\n  a: {cmd: x}\n  c: {cmd: x}\n# end", "stages:\n# end"),
        ("stages:\r\n  a: {cmd: x}\r\n  b: {cmd: y}\r\n", "stages:\r\n  b: {cmd: y}\r\n"),
    ],
)
def test_removing_from_either_style(before: str, after: str) -> None:
    assert merged(before, {}, ("a", "c")) == after
    again = merged(before, {"n": {"cmd": "x"}}, ("a", "c"))
    assert loaded(again)["stages"]["n"] == {"cmd": "x"}
    assert "a" not in loaded(again)["stages"]


def test_a_stage_that_others_point_into_is_not_removed() -> None:
    text = "stages:\n  a: &a {cmd: x}\n  b: *a\n"
    with pytest.raises(RecipeError):
        merged(text, {"n": {"cmd": "x"}}, ("a",))


@given(
    st.lists(st.sampled_from("abcdef"), unique=True, min_size=1),
    st.sets(st.sampled_from("abcdef")),
    st.sampled_from(["block", "flow"]),
)
def test_what_is_removed_is_gone_and_the_rest_is_there(
    names: list[str], gone: set[str], style: str
) -> None:
    if style == "flow":
        text = "stages: {" + ", ".join(f"{n}: {{cmd: run {n}}}" for n in names) + "}\n"
    else:
        text = "stages:\n" + "".join(f"  {n}:\n    cmd: run {n}\n  # {n}\n" for n in names)
    after = merged(text, {"n": {"cmd": "x"}}, tuple(sorted(gone)))
    rest = {name: {"cmd": f"run {name}"} for name in names if name not in gone}
    assert loaded(after)["stages"] == {**rest, "n": {"cmd": "x"}}
    if style == "block":
        assert all(f"  # {name}\n" in after for name in names)
