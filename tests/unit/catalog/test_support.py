"""support.toml: which cells exist, and what is said of the others."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from recipec.catalog import support
from recipec.recipe import schema

TASKS = get_args(schema.TaskType)
METHODS = get_args(schema.MethodType)


def test_the_table_speaks_of_every_task_and_method_of_the_language() -> None:
    assert set(support.tasks()) == set(TASKS)
    assert set(support.methods()) == set(METHODS)


def test_the_metrics_and_fields_are_those_of_the_language() -> None:
    fields = set(schema.Fields.__dataclass_fields__)
    for name, task in support.tasks().items():
        assert set(task.metrics) <= set(get_args(schema.Metric)), name
        assert set(task.fields) <= fields, name
        assert task.learns


def test_the_knobs_are_keys_of_the_method_section() -> None:
    knobs = set(schema.Method.__dataclass_fields__) - {"type"}
    for name, method in support.methods().items():
        assert set(method.knobs) <= knobs, name
        assert method.trains


ENCODERS_AND_DECODERS = ("encoder-only", "decoder-only")
EVERY = ("full", "layernorm", "lora", "qlora", "bottleneck", "prefix", "prompt", "ia3")
WITHOUT_PROMPT = tuple(method for method in EVERY if method != "prompt")
WANTED = [
    (("causal-lm", "instruction"), ("decoder-only",), EVERY),
    (("sequence-classification",), ENCODERS_AND_DECODERS, EVERY),
    (("token-classification", "question-answering"), ENCODERS_AND_DECODERS, WITHOUT_PROMPT),
    (("summarization", "translation", "text-to-text"), ("encoder-decoder",), EVERY),
    (("masked-lm",), ("encoder-only",), ("full",)),
    (("span-corruption",), ("encoder-decoder",), ("full",)),
]


def test_the_cells_of_this_version() -> None:
    wanted = {cell for tables in WANTED for cell in itertools.product(*tables)}
    assert set(support.cells()) == wanted
    assert len(support.cells()) == len(wanted) == 86


@pytest.mark.parametrize(
    ("task", "family", "method"), list(itertools.product(TASKS, support.FAMILIES, METHODS))
)
def test_every_other_cell_is_refused_with_a_reason_and_a_way_out(
    task: str, family: str, method: str
) -> None:
    cell = support.cell(task, family, method)
    assert cell.supported == ((task, family, method) in support.cells())
    assert bool(cell.reason) == (not cell.supported)
    assert bool(cell.hint) == (not cell.supported)


@pytest.mark.parametrize(
    ("cell", "reason", "hint"),
    [
        (
            ("summarization", "encoder-only", "lora"),
            "an encoder-only model has no decoder, so it cannot write text",
            "use an encoder-decoder model (T5, BART) or a decoder-only one (GPT-2, Llama)",
        ),
        (
            ("causal-lm", "encoder-decoder", "full"),
            "an encoder-decoder model is not trained to continue plain text",
            "use a decoder-only model, or `task.type: text-to-text`",
        ),
        (
            ("masked-lm", "encoder-only", "lora"),
            "reading a corpus changes the whole model, which later recipes then start from",
            "use `method.type: full`",
        ),
        (
            ("sequence-classification", "encoder-decoder", "lora"),
            "an encoder-decoder model writes the label or the answer",
            "use `task.type: text-to-text`, with the label as the target",
        ),
        (
            ("question-answering", "encoder-only", "prompt"),
            "embeddings put before the input move every token that the task points at",
            "use prefix, which leaves the tokens where they are, or lora",
        ),
    ],
)
def test_what_is_said_of_a_cell(cell: tuple[str, str, str], reason: str, hint: str) -> None:
    found = support.cell(*cell)
    assert (found.reason, found.hint) == (reason, hint)


@pytest.mark.parametrize(("task", "method"), list(itertools.product(TASKS, METHODS)))
def test_before_the_model_is_known_only_what_no_family_trains_is_refused(
    task: str, method: str
) -> None:
    known = support.task_has_cells(task, method)
    assert known.supported == any(
        support.cell(task, family, method).supported for family in support.FAMILIES
    )


def test_every_architecture_has_a_family_and_names() -> None:
    families = {names.family for names in support.models().values()}
    assert families == set(support.FAMILIES)
    for name, names in support.models().items():
        assert names.linear == tuple(sorted(names.linear)), name
        assert len(set(names.linear)) == len(names.linear), name


def test_every_family_with_cells_has_an_architecture() -> None:
    known = {names.family for names in support.models().values()}
    assert {family for _, family, _ in support.cells()} <= known
