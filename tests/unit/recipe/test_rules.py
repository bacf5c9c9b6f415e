"""The rules beyond the schema, each by its text and its place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from recipec.catalog import support
from recipec.recipe.rules import Broken, broken_rules
from recipec.recipe.schema import Recipe

LEAST: dict[str, Any] = {
    "name": "a",
    "task": {"type": "summarization"},
    "domain": {"data": {"train": "train.jsonl", "test": "test.jsonl"}},
    "architecture": {"model": "path:m"},
}


def recipe(**sections: Any) -> Recipe:
    plain = {**LEAST}
    for name, values in sections.items():
        plain[name] = {**plain.get(name, {}), **values} if isinstance(values, dict) else values
    return msgspec.convert(plain, Recipe)


def broken(**sections: Any) -> list[Broken]:
    return list(broken_rules(recipe(**sections)))


def only(**sections: Any) -> tuple[str, str, str]:
    found = broken(**sections)
    assert len(found) == 1, found
    rule = found[0]
    return ".".join(map(str, rule.path)), rule.message, rule.hint


def test_the_least_recipe_breaks_none() -> None:
    assert broken() == []


@pytest.mark.parametrize(("task", "family", "method"), support.cells())
def test_every_cell_passes(task: str, family: str, method: str) -> None:  # noqa: ARG001
    assert broken(task={"type": task}, method={"type": method}) == []


def test_a_method_that_no_model_has_for_the_task() -> None:
    assert only(task={"type": "token-classification"}, method={"type": "prompt"}) == (
        "method.type",
        "embeddings put before the input move every token that the task points at",
        "use prefix, which leaves the tokens where they are, or lora",
    )


def test_a_field_of_another_task() -> None:
    assert only(task={"type": "summarization", "fields": {"source": "a", "text": "b"}}) == (
        "task.fields.text",
        "summarization has no field `text`",
        "its fields: source, target",
    )


def test_two_fields_of_one_column() -> None:
    assert only(task={"type": "summarization", "fields": {"source": "a", "target": "a"}}) == (
        "task.fields",
        "two fields name the same column",
        "the model would be shown its answer; name two columns",
    )


@pytest.mark.parametrize(
    ("knob", "value", "owners"),
    [
        ("rank", 8, "lora, qlora"),
        ("alpha", 8, "lora, qlora"),
        ("dropout", 0.1, "lora, qlora, bottleneck"),
        ("target_modules", ["q"], "lora, qlora, ia3"),
    ],
)
def test_a_knob_of_another_method(knob: str, value: object, owners: str) -> None:
    assert only(method={"type": "full", knob: value}) == (
        f"method.{knob}",
        f"`method.{knob}` does nothing with method full",
        f"remove it, or choose one of: {owners}",
    )
    assert broken(method={"type": "lora", knob: value}) == []


@pytest.mark.parametrize(
    ("task", "section", "key", "value", "hint"),
    [
        (
            "summarization",
            "training",
            "max_length",
            5,
            "use max_source_length and max_target_length",
        ),
        ("causal-lm", "training", "max_source_length", 5, "use max_length"),
        ("sequence-classification", "training", "max_target_length", 5, "use max_length"),
        (
            "causal-lm",
            "evaluation",
            "num_beams",
            4,
            "it is for summarization, text-to-text, translation",
        ),
        (
            "sequence-classification",
            "evaluation",
            "max_new_tokens",
            4,
            "it is for instruction, summarization, text-to-text, translation",
        ),
        (
            "causal-lm",
            "task",
            "prefix",
            "x: ",
            "it is for summarization, text-to-text, translation",
        ),
    ],
)
def test_a_key_that_does_nothing(
    task: str, section: str, key: str, value: object, hint: str
) -> None:
    sections: dict[str, Any] = {"task": {"type": task}}
    sections[section] = {**sections.get(section, {}), key: value}
    message = f"`{section}.{key}` does nothing for {task}"
    assert only(**sections) == (f"{section}.{key}", message, hint)


def test_epochs_and_steps() -> None:
    assert only(training={"epochs": 1, "steps": 2}) == (
        "training.steps",
        "`training.steps` and `training.epochs` are both given",
        "keep one of them",
    )


@pytest.mark.parametrize(
    ("batch", "micro", "near"), [(16, 5, 4), (16, 32, 16), (7, 4, 1), (12, 5, 4)]
)
def test_a_micro_batch_that_does_not_divide(batch: int, micro: int, near: int) -> None:
    assert only(training={"batch_size": batch, "micro_batch_size": micro}) == (
        "training.micro_batch_size",
        f"micro_batch_size {micro} does not divide batch_size {batch}",
        f"the nearest smaller one that does is {near}",
    )
    assert broken(training={"batch_size": batch, "micro_batch_size": near}) == []


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "~/x", "~x", "a\\b", "..", "a/.."]
)
def test_a_path_that_leaves_the_project(path: str) -> None:
    hint = "name a path below the project's root: a lock must mean the same everywhere"
    message = f"{path!a} leaves the project"
    assert only(domain={"data": {"train": path}}) == ("domain.data.train", message, hint)
    assert only(architecture={"model": f"path:{path}"}) == ("architecture.model", message, hint)


@pytest.mark.parametrize("path", ["a\nb", "a\0", "a\x1b[2J", "a\x7f"])
def test_a_path_with_a_control_character(path: str) -> None:
    assert only(domain={"data": {"train": path}}) == (
        "domain.data.train",
        "the path holds a control character",
        "",
    )


@pytest.mark.parametrize("path", ["a", "a/b.jsonl", "a b", "ä/漢.jsonl", "...", "a..b", "-x"])
def test_a_path_within_the_project(path: str) -> None:
    assert broken(domain={"data": {"train": path}}) == []


@pytest.mark.parametrize("same", ["a.jsonl", "./a.jsonl", "a.jsonl/", ".//a.jsonl"])
def test_one_file_for_two_splits(same: str) -> None:
    assert only(domain={"data": {"train": "a.jsonl", "test": same}}) == (
        "domain.data.test",
        "`test` is the same file as `train`",
        "a model measured on what it was trained on looks better than it is",
    )


def test_a_metric_of_another_task() -> None:
    assert only(evaluation={"metrics": ["rouge1", "f1"]}) == (
        "evaluation.metrics.1",
        "summarization is not measured by f1",
        "its metrics: rouge1, rouge2, rougeL",
    )


@pytest.mark.parametrize(
    ("evaluation", "place", "message", "hint"),
    [
        (
            {"at_least": {"rougel": 0.5}},
            "evaluation.at_least.rougel",
            "the gate on `rougel` can never hold: it is not measured",
            "did you mean `rougeL`?",
        ),
        (
            {"metrics": ["rouge1"], "at_most": {"zzz": 1}},
            "evaluation.at_most.zzz",
            "the gate on `zzz` can never hold: it is not measured",
            "measured: loss, rouge1",
        ),
        (
            {"metrics": [], "at_least": {"rouge1": 0.1}},
            "evaluation.at_least.rouge1",
            "the gate on `rouge1` can never hold: it is not measured",
            "measured: loss",
        ),
    ],
)
def test_a_gate_on_what_is_not_measured(
    evaluation: dict[str, Any], place: str, message: str, hint: str
) -> None:
    assert only(evaluation=evaluation) == (place, message, hint)


def test_a_gate_without_data() -> None:
    plain = {**LEAST, "domain": {"data": {"train": "a"}}, "evaluation": {"at_most": {"loss": 1}}}
    found = list(broken_rules(msgspec.convert(plain, Recipe)))
    assert [(rule.path, rule.message, rule.hint) for rule in found] == [
        (
            ("evaluation", "at_most", "loss"),
            "the gate on `loss` has no data to be measured on",
            "name `domain.data.test` or `domain.data.validation`",
        )
    ]
    assert broken(evaluation={"at_most": {"loss": 1}, "at_least": {"rougeL": 0.1}}) == []


@pytest.mark.parametrize(
    "given", ["2026-13-01", "2026-02-30", "2026-00-10", "2026-01-01T24:00:01Z", "0000-01-01"]
)
def test_a_date_that_does_not_exist(given: str) -> None:
    assert only(image={"exclude_newer": given})[:2] == (
        "image.exclude_newer",
        f"{given} is not a date that exists",
    )


@pytest.mark.parametrize("given", ["2026-11-01", "2024-02-29", "2026-11-01T23:59:59Z"])
def test_a_date_that_exists(given: str) -> None:
    assert broken(image={"exclude_newer": given}) == []


def test_without_a_known_task_only_what_does_not_depend_on_it_is_asked() -> None:
    bad = recipe(
        task={"type": "translation", "prefix": "x"},
        training={"epochs": 1, "steps": 1},
        evaluation={"metrics": ["f1"]},
    )
    assert [rule.path for rule in broken_rules(bad, task_known=False)] == [("training", "steps")]
