"""A recipe and its bases as one: which value is taken, and where it is said to stand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipec.errors import RecipeError
from recipec.recipe.check import check
from recipec.recipe.compose import circle, compose, extended
from recipec.recipe.document import Document
from recipec.recipe.given import given_values
from recipec.recipe.read import read

BASE = """\
recipe: v1
name: base
task:
  type: summarization
  fields: {source: clause, target: summary}
domain:
  data: {train: data/train.jsonl, test: data/test.jsonl}
architecture:
  model: path:models/tiny
method: {type: lora, rank: 8, target_modules: [q, k, v]}
training: {epochs: 3, learning_rate: 1.0e-3}
"""


def document(text: str, file: str = "a.yaml") -> Document:
    return read(text.encode(), file)


def composed(*texts: str) -> Document:
    """These recipes over one another; the first one extends the second, and so on."""
    return compose([document(text, f"{'abcdefgh'[n]}.yaml") for n, text in enumerate(texts)])


def values(*texts: str) -> Any:
    return composed(*texts).value


def refusal(*texts: str) -> str:
    with pytest.raises(RecipeError) as caught:
        check(composed(*texts))
    return caught.value.render()


def test_a_recipe_alone_is_itself() -> None:
    alone = document(BASE)
    made = compose([alone])
    assert made.value == alone.value
    assert (made.keys, made.values, made.others) == (alone.keys, alone.values, {})


def test_sections_merge_deeply_and_all_else_is_replaced() -> None:
    top = """\
extends: base.yaml
name: top
domain: {data: {validation: data/v.jsonl}}
method: {target_modules: [q], rank: 4}
training: {seed: 1}
"""
    made = values(top, BASE)
    assert made == {
        "recipe": "v1",
        "name": "top",
        "task": {"type": "summarization", "fields": {"source": "clause", "target": "summary"}},
        "domain": {
            "data": {
                "train": "data/train.jsonl",
                "test": "data/test.jsonl",
                "validation": "data/v.jsonl",
            }
        },
        "architecture": {"model": "path:models/tiny"},
        "method": {"type": "lora", "rank": 4, "target_modules": ["q"]},
        "training": {"epochs": 3, "learning_rate": 1e-3, "seed": 1},
    }


def test_the_nearest_of_a_long_chain_takes_precedence() -> None:
    chain = [f"extends: x.yaml\nname: r{n}\ntraining: {{seed: {n}}}\n" for n in range(6)]
    chain[3] += "evaluation: {num_beams: 4}\n"
    made = values(*chain, BASE)
    assert made["training"] == {"epochs": 3, "learning_rate": 1e-3, "seed": 0}
    assert made["evaluation"] == {"num_beams": 4}
    assert made["name"] == "r0"
    assert "extends" not in made


def test_what_both_say_is_checked_where_it_stands() -> None:
    base = BASE.replace("epochs: 3", "epochs: 0").replace("rank: 8", "rnak: 8")
    middle = "# middle\n\nextends: base.yaml\nevaluation:\n  num_beams: many\n"
    top = "name: top\nextends: middle.yaml\ntraining: {seed: '1'}\n"
    assert refusal(top, middle, base) == (
        "a.yaml:3:18: error: `training.seed` is '1'; it is a whole number\n"
        "    3 | training: {seed: '1'}\n"
        "      |                  ^^^\n"
        "  hint: remove the quotes: 1\n"
        "\n"
        "b.yaml:5:14: error: `evaluation.num_beams` is 'many'; it is a whole number\n"
        "    5 |   num_beams: many\n"
        "      |              ^^^^\n"
        "  hint: Beams of generation; 1 is greedy.\n"
        "\n"
        "c.yaml:10:22: error: unknown key `rnak` in `method`\n"
        "   10 | method: {type: lora, rnak: 8, target_modules: [q, k, v]}\n"
        "      |                      ^^^^\n"
        "  hint: did you mean `rank`?\n"
        "\n"
        "c.yaml:11:20: error: `training.epochs` is 0; it is at least 1\n"
        "   11 | training: {epochs: 0, learning_rate: 1.0e-3}\n"
        "      |                    ^\n"
        "  hint: Passes over the training rows.\n"
        "\n"
        "4 errors"
    )


def test_a_mistake_of_the_base_that_is_replaced_is_none() -> None:
    top = "extends: base.yaml\nname: top\ntraining: {epochs: 1}\n"
    check(composed(top, BASE.replace("epochs: 3", "epochs: zero")))


def test_an_item_of_a_list_is_shown_in_the_file_that_it_is_from() -> None:
    top = "extends: base.yaml\nname: top\n"
    text = refusal(top, BASE.replace("[q, k, v]", "[q, 5, v]"))
    assert text.startswith("b.yaml:10:51: error: `method.target_modules[1]` is 5; it is text\n")
    text = refusal(top + "method:\n  target_modules: [q, 5]\n", BASE)
    assert text.startswith("a.yaml:4:23: error: `method.target_modules[1]` is 5; it is text\n")


def test_what_is_missing_is_missed_in_the_extending_recipe() -> None:
    base = "name: base\ndomain:\n  name: legal\n"
    top = "extends: base.yaml\nname: top\ndomain: {license: CC0-1.0}\n"
    assert [line for line in refusal(top, base).splitlines() if "error: " in line] == [
        "a.yaml:1:1: error: `task`, `architecture` are missing",
        "a.yaml:3:1: error: `domain.data` is missing",
    ]


def test_an_empty_value_is_refused_where_it_stands() -> None:
    text = refusal("extends: base.yaml\nname: top\ntraining:\n", BASE)
    assert text.startswith("a.yaml:3:1: error: `training` is empty; it is a section (a mapping)\n")


def test_an_empty_section_of_a_base_may_be_filled() -> None:
    base = BASE.replace("training: {epochs: 3, learning_rate: 1.0e-3}", "training:")
    recipe = check(composed("extends: b.yaml\nname: top\ntraining: {epochs: 2}\n", base))
    assert recipe.training.epochs == 2


@pytest.mark.parametrize(
    ("above", "below", "line"),
    [
        ("training: 5", "training: {epochs: 3}", "a single value here and a section"),
        ("training: [5]", "training: {epochs: 3}", "a list here and a section"),
        ("training: {epochs: 3}", "training: 5", "a section here and a single value"),
        ("training: {epochs: 3}", "training: [5]", "a section here and a list"),
    ],
)
def test_a_section_and_something_else_do_not_merge(above: str, below: str, line: str) -> None:
    top = f"extends: base.yaml\nname: top\n{above}\n"
    with pytest.raises(RecipeError) as caught:
        composed(top, f"# the base\n{below}\n")
    assert caught.value.render() == (
        f"a.yaml:3:1: error: `training` is {line} in the base (b.yaml:2:1)\n"
        f"    3 | {above}\n"
        "      | ^^^^^^^^\n"
        "  hint: a section merges only with a section\n"
        "\n"
        "1 error"
    )


def test_every_conflict_is_told_with_the_file_that_it_is_with() -> None:
    top = "extends: b\nname: top\ntask: 1\nmethod: 2\n"
    middle = "extends: c\nmethod: {rank: 4}\n"
    with pytest.raises(RecipeError) as caught:
        composed(top, middle, "task: {type: summarization}\n")
    assert [(d.line, d.message) for d in caught.value.diagnostics] == [
        (3, "`task` is a single value here and a section in the base (c.yaml:1:1)"),
        (4, "`method` is a single value here and a section in the base (b.yaml:2:1)"),
    ]


def test_where_the_language_takes_both_a_mapping_and_a_text_either_replaces_the_other() -> None:
    top = "extends: b\nname: top\ntraining: {class_weights: {yes: 2.0, no: 1.0}}\n"
    assert values(top, "training: {class_weights: balanced}\n")["training"] == {
        "class_weights": {"yes": 2.0, "no": 1.0}
    }
    top = "extends: b\nname: top\ntraining: {class_weights: balanced}\n"
    assert values(top, "training: {class_weights: {yes: 2.0}}\n")["training"] == {
        "class_weights": "balanced"
    }


@pytest.mark.parametrize(
    ("below", "above", "made"),
    [
        ("{type: lora, rank: 8}", "{type: full}", {"type": "full"}),
        ("{type: lora, rank: 8}", "{type: lora}", {"type": "lora", "rank": 8}),
        ("{type: lora, rank: 8}", "{alpha: 4}", {"type": "lora", "rank": 8, "alpha": 4}),
        ("{rank: 8}", "{type: full}", {"type": "full"}),
        ("{rank: 8}", "{type: lora}", {"rank": 8, "type": "lora"}),
        ("{type: full}", "{type: lora, rank: 2}", {"type": "lora", "rank": 2}),
    ],
)
def test_a_method_of_another_type_keeps_no_knob(below: str, above: str, made: object) -> None:
    top = f"extends: b\nname: top\nmethod: {above}\n"
    assert values(top, f"method: {below}\n")["method"] == made


def test_a_task_of_another_type_keeps_no_column() -> None:
    top = "extends: b\nname: top\ntask: {type: causal-lm, fields: {text: clause}}\n"
    assert values(top, BASE)["task"] == {"type": "causal-lm", "fields": {"text": "clause"}}
    # A base that leaves the type open has decided nothing.
    base = "task: {fields: {source: a, target: b}}\n"
    top = "extends: b\nname: top\ntask: {type: translation}\n"
    assert values(top, base)["task"]["fields"] == {"source": "a", "target": "b"}


def test_of_two_keys_that_say_one_thing_one_takes_the_place_of_the_other() -> None:
    top = "extends: b\nname: top\ntraining: {steps: 40}\n"
    assert values(top, BASE)["training"] == {"learning_rate": 1e-3, "steps": 40}
    base = BASE.replace("epochs: 3", "steps: 40, warmup_steps: 5")
    top = "extends: b\nname: top\ntraining: {epochs: 1, warmup_ratio: 0.1}\n"
    assert values(top, base)["training"] == {
        "learning_rate": 1e-3,
        "epochs": 1,
        "warmup_ratio": 0.1,
    }
    text = refusal("extends: b\nname: top\ntraining: {epochs: 1, steps: 2}\n", BASE)
    assert "a.yaml:3:23: error: `training.steps` and `training.epochs` are both given" in text


def test_an_extending_recipe_has_a_name_of_its_own() -> None:
    with pytest.raises(RecipeError) as caught:
        composed("extends: base.yaml\ntraining: {seed: 1}\n", BASE)
    assert caught.value.render() == (
        "a.yaml:1:1: error: a recipe that extends another one needs a `name` of its own\n"
        "    1 | extends: base.yaml\n"
        "      | ^^^^^^^\n"
        "  hint: its base is `base` (b.yaml:2:7)\n"
        "\n"
        "1 error"
    )
    with pytest.raises(RecipeError) as caught:
        composed("extends: b\nname: base\n", "extends: c\n", BASE)
    assert caught.value.render() == (
        "a.yaml:2:7: error: `base` is the name of the base too (c.yaml:2:7)\n"
        "    2 | name: base\n"
        "      |       ^^^^\n"
        "  hint: give each recipe a name of its own: it names the build folder and DVC stages\n"
        "\n"
        "1 error"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("extends:", "1:1: error: `extends` is empty"),
        ("extends: ''", "1:10: error: `extends` is empty"),
        ("extends: 5", "1:10: error: `extends` is not text"),
        ("extends: [a.yaml, b.yaml]", "1:10: error: `extends` is not text"),
        ("extends: {a: b}", "1:10: error: `extends` is not text"),
    ],
)
def test_what_extends_nothing_that_could_be(line: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        extended(document(f"{line}\nname: a\n"))
    assert caught.value.render().startswith(f"a.yaml:{message}\n")
    assert "  hint: name one recipe by its path relative to this one" in caught.value.render()


def test_what_a_recipe_extends() -> None:
    assert extended(document("name: a\n")) is None
    assert extended(document("extends: ../über/βάση.yaml\n")) == "../über/βάση.yaml"


def test_a_circle_is_shown_at_each_of_its_recipes() -> None:
    chain = [
        document("name: a\nextends: b.yaml\n", "a.yaml"),
        document("extends: a.yaml\n", "b.yaml"),
    ]
    way = "these recipes extend one another in a circle: a.yaml -> b.yaml -> a.yaml"
    assert circle(chain).render() == (
        f"a.yaml:2:10: error: {way}\n"
        "    2 | extends: b.yaml\n"
        "      |          ^^^^^^\n"
        "  hint: put what they share into a base that extends none of them\n"
        "\n"
        f"b.yaml:1:10: error: {way}\n"
        "    1 | extends: a.yaml\n"
        "      |          ^^^^^^\n"
        "  hint: put what they share into a base that extends none of them\n"
        "\n"
        "2 errors"
    )
    assert (
        circle(chain[1:]).render().startswith("b.yaml:1:10: error: a recipe cannot extend itself\n")
    )


def test_text_of_every_script_comes_through_and_steers_no_terminal() -> None:
    base = 'task: {type: summarization, fields: {source: "п\\u202e", target: "要\\x1b[1m"}}\n'
    top = "extends: b\nname: top\n# ключ\ntraining: {seed: über}\n"
    made = composed(top, base)
    assert made.value == {
        "name": "top",
        "task": {"type": "summarization", "fields": {"source": "п\u202e", "target": "要\x1b[1m"}},
        "training": {"seed": "über"},
    }
    text = made.diagnostic(("task", "fields", "source"), "x").render()
    assert text.startswith("b.yaml:1:46: error: x\n")
    assert "\x1b" not in text
    assert "\u202e" not in text


# What must always hold

_keys = st.sampled_from(["a", "b", "c", "training", "method"])
_plain = st.recursive(
    st.integers(0, 3) | st.booleans() | st.text("xyz", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=8,
)
_sections = st.dictionaries(_keys, _plain, max_size=4)


def overlaid(below: Any, above: Any) -> Any:
    """What merging means, in a line. Raises TypeError for a section beside something else."""
    if isinstance(below, dict) != isinstance(above, dict):
        raise TypeError
    if not isinstance(below, dict):
        return above
    both = {k: overlaid(below[k], above[k]) for k in below if k in above}
    return {**below, **above, **both}


@given(st.lists(_sections, min_size=1, max_size=4))
def test_composing_is_overlaying_and_places_lead_to_the_value(chain: list[Any]) -> None:
    import json

    texts = [json.dumps({"name": f"n{n}", **recipe}) + "\n" for n, recipe in enumerate(chain)]
    wanted: Any = {**chain[-1]}
    try:
        for recipe in reversed(chain[:-1]):
            wanted = overlaid(wanted, recipe)
    except TypeError:
        with pytest.raises(RecipeError):
            composed(*texts)
        return
    made = composed(*texts)
    assert made.value == {**wanted, "name": "n0"}

    def follow(path: tuple[str | int, ...], value: object) -> None:
        place = made.values[path]
        lines = made.others[place.file] if place.file else made.lines
        at = lines[place.line - 1][place.column - 1 :]
        found, _ = json.JSONDecoder().raw_decode(at)
        if isinstance(value, dict):
            for key, item in value.items():
                follow((*path, key), item)
        else:
            assert found == value
            assert type(found) is type(value)

    follow((), made.value)


@given(st.sampled_from(["training", "method", "task", "domain", "architecture"]))
def test_a_recipe_cut_in_two_is_the_same_recipe(section: str) -> None:
    whole = document(BASE.replace("name: base", "name: top"))
    value: Any = whole.value
    import json

    one = json.dumps({"extends": "b", "name": "top", section: value[section]})
    rest = json.dumps({k: v for k, v in value.items() if k not in {section, "name"}})
    assert given_values(check(composed(one, rest))) == given_values(check(whole))


def test_another_type_starts_its_section_anew() -> None:
    base = read(b"name: a\nmethod: {type: lora, rank: 4}\n", "base.yaml")
    top = read(b"extends: base.yaml\nname: b\nmethod: {type: full}\n", "top.yaml")
    assert compose([top, base]).value == {"name": "b", "method": {"type": "full"}}
    same = read(b"extends: base.yaml\nname: b\nmethod: {type: lora, alpha: 8}\n", "top.yaml")
    assert compose([same, base]).value == {
        "name": "b",
        "method": {"type": "lora", "rank": 4, "alpha": 8},
    }


def test_of_two_keys_that_say_one_thing_the_last_counts() -> None:
    base = read(b"name: a\ntraining: {epochs: 3, warmup_ratio: 0.1, seed: 1}\n", "base.yaml")
    top = read(b"extends: base.yaml\nname: b\ntraining: {steps: 9}\n", "top.yaml")
    assert compose([top, base]).value == {
        "name": "b",
        "training": {"warmup_ratio": 0.1, "seed": 1, "steps": 9},
    }
