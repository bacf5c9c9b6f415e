"""The recipe that a corpus becomes, and who shares it; chats that a model cannot render."""

from __future__ import annotations

from typing import Any

import pytest

from recipec.cli.corpus import as_yaml
from recipec.plan.corpus import corpus_recipe, is_corpus
from recipec.plan.refusals import silent_models
from recipec.recipe.check import check
from recipec.recipe.read import read
from recipec.recipe.schema import Recipe

BASE = """\
name: one
task: {type: summarization}
domain:
  data: {train: data/train.jsonl}
  corpus: {train: [a.txt, b.txt], validation: 5%, field: body, mask_share: 0.2, span_length: 2}
architecture: {model: path:m, attention: eager}
method: {type: lora, rank: 4}
training: {epochs: 9, learning_rate: 1.0e-2, seed: 5}
hardware: {threads: 2}
"""


def recipe(text: str = BASE, **changes: str) -> Recipe:
    for old, new in changes.items():
        text = text.replace(old, new)
    return check(read(text.encode(), "one.yaml"))


@pytest.mark.parametrize(
    ("family", "task"),
    [
        ("encoder-only", {"type": "masked-lm", "fields": {"text": "body"}, "mask_share": 0.2}),
        ("decoder-only", {"type": "causal-lm", "fields": {"text": "body"}}),
        (
            "encoder-decoder",
            {
                "type": "span-corruption",
                "fields": {"text": "body"},
                "mask_share": 0.2,
                "span_length": 2.0,
            },
        ),
    ],
)
def test_the_objective_is_the_familys(family: str, task: dict[str, Any]) -> None:
    plain = corpus_recipe(recipe(), family)
    assert plain["task"] == task
    assert is_corpus(plain["name"])
    training: dict[str, Any] = {"epochs": 1, "max_lost": 1.0, "seed": 5}
    if family == "decoder-only":
        training["overlong"] = "split"
    assert {name: value for name, value in plain.items() if name not in ("name", "task")} == {
        "recipe": "v1",
        "domain": {"data": {"train": ["a.txt", "b.txt"], "validation": "5%"}},
        "architecture": {"model": "path:m", "attention": "eager"},
        "method": {"type": "full"},
        "training": training,
        "hardware": {"threads": 2},
    }


@pytest.mark.parametrize("family", ["encoder-only", "decoder-only", "encoder-decoder"])
def test_what_is_written_is_a_recipe(family: str) -> None:
    plain = corpus_recipe(recipe(), family)
    written = check(read(as_yaml(plain), "corpus.yaml"))
    assert written.name == plain["name"]
    assert written.task.type == plain["task"]["type"]
    assert as_yaml(plain) == as_yaml(dict(plain))


@pytest.mark.parametrize(
    "change",
    [
        {"name: one": "name: two"},
        {"rank: 4": "rank: 8"},
        {"epochs: 9": "epochs: 2"},
        {"learning_rate: 1.0e-2": "learning_rate: 1.0e-3"},
        {"data/train.jsonl": "data/other.jsonl"},
        {"type: summarization": "type: translation"},
    ],
)
def test_recipes_that_share_a_corpus(change: dict[str, str]) -> None:
    assert corpus_recipe(recipe(**change), "encoder-decoder") == corpus_recipe(
        recipe(), "encoder-decoder"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"a.txt": "c.txt"},
        {"span_length: 2": "span_length: 3"},
        {"path:m": "path:other"},
        {"seed: 5": "seed: 6"},
        {"threads: 2": "threads: 1"},
        {"attention: eager": "attention: sdpa"},
    ],
)
def test_recipes_that_do_not(change: dict[str, str]) -> None:
    names = {corpus_recipe(r, "encoder-decoder")["name"] for r in (recipe(**change), recipe())}
    assert len(names) == 2


CHAT = """\
name: chat
task: {type: instruction, chat_template: model}
domain: {data: {train: data/train.jsonl}}
architecture: {model: path:m}
"""


def test_a_model_without_a_template() -> None:
    (fault,) = silent_models(recipe(CHAT), chats=False)
    assert fault.path == ("task", "chat_template")
    assert fault.message == "path:m has no chat template of its own"
    assert fault.hint == "set `task.chat_template` to chatml, alpaca or plain"
    open_one = recipe(CHAT, **{", chat_template: model": ""})
    assert [fault.path for fault in silent_models(open_one, chats=False)] == [
        ("architecture", "model")
    ]
    assert not list(silent_models(recipe(CHAT), chats=True))
    named = recipe(CHAT, **{"chat_template: model": "chat_template: plain"})
    assert not list(silent_models(named, chats=False))
    assert not list(silent_models(recipe(), chats=False))
