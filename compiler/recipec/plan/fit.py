"""Whether a recipe fits its model: the rules that need the model's own config.json.

In: a checked recipe, the model's type, family and config. Out: the rules it breaks, at paths of the
recipe. Pure; `recipec.recipe.rules` holds those that need no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recipec.catalog import support
from recipec.plan.model import number_of_experts, positions
from recipec.plan.refusals import method_faults
from recipec.plan.task import window_of
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe

HEADS = {
    "causal-lm": "causal-lm",
    "instruction": "causal-lm",
    "sequence-classification": "sequence-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "summarization": "seq2seq-lm",
    "translation": "seq2seq-lm",
    "text-to-text": "seq2seq-lm",
    "masked-lm": "masked-lm",
    "span-corruption": "seq2seq-lm",
}
"""The kind of task head that each task needs, as the catalogue names it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The model that a recipe is held against."""

    family: str
    model_type: str
    config: Mapping[str, Any]


def misfits(recipe: Recipe, target: Target) -> Iterator[Broken]:
    """Every way in which the recipe does not fit the model; the first is the gravest."""
    cell = support.cell(recipe.task.type, target.family, recipe.method.type)
    if not cell.supported:
        source = recipe.architecture.model
        yield Broken(
            path=("architecture", "model"),
            message=f"{cell.reason} ({source} is {target.family})",
            hint=cell.hint,
        )
        return
    for rule in (
        _head,
        _lengths,
        _attention,
        _rope,
        _learned_positions,
        _experts,
        _packing,
        _windows,
    ):
        yield from rule(recipe, target)
    yield from method_faults(
        recipe,
        model_type=target.model_type,
        config=target.config,
        longest=longest_input(recipe, target.config),
    )


def _head(recipe: Recipe, target: Target) -> Iterator[Broken]:
    names, wanted = support.models().get(target.model_type), HEADS[recipe.task.type]
    if (wanted, target.family) == ("question-answering", "decoder-only"):
        wanted = "token-classification"  # with two outputs: see recipec.emit.tasks
    if names is not None and wanted not in names.heads:
        able = sorted(
            name
            for name, other in support.models().items()
            if wanted in other.heads and other.family == target.family
        )
        yield Broken(
            path=("architecture", "model"),
            message=f"transformers has no {wanted} head for a {target.model_type} model",
            hint=f"{target.family} models that have one: {', '.join(able)}",
        )


def _lengths(recipe: Recipe, target: Target) -> Iterator[Broken]:
    """Lengths beyond the model's positions would stop the training at its first long row."""
    longest = longest_input(recipe, target.config)
    for name in ("max_length", "max_source_length", "max_target_length"):
        given = getattr(recipe.training, name)
        if given is not None and given > longest:
            yield Broken(
                path=("training", name),
                message=f"training.{name} is {given}, and {recipe.architecture.model} has"
                f" {longest} positions",
                hint=f"use at most {longest}",
            )


def longest_input(recipe: Recipe, config: Mapping[str, Any]) -> int:
    """Tokens that the model has positions for, with its rotary positions scaled as asked."""
    rope = recipe.architecture.rope
    return int(positions(config) * rope.factor) if rope is not None else positions(config)


def _attention(recipe: Recipe, target: Target) -> Iterator[Broken]:
    names, given = support.models().get(target.model_type), recipe.architecture.attention
    if names is not None and given is not None and given not in names.attention:
        yield Broken(
            path=("architecture", "attention"),
            message=f"transformers has no {given} for a {target.model_type} model",
            hint=f"it has: {', '.join(names.attention)}",
        )


def _rope(recipe: Recipe, target: Target) -> Iterator[Broken]:
    if recipe.architecture.rope is None:
        return
    names = support.models().get(target.model_type)
    rotary = (
        names.positions == "rotary"
        if names is not None
        else any(key.startswith("rope_") for key in target.config)
    )
    if not rotary:
        kind = f"{names.positions} positions" if names is not None else "no rope_* key"
        yield Broken(
            path=("architecture", "rope"),
            message=f"a {target.model_type} model has {kind}, not rotary ones",
            hint="remove `architecture.rope`",
            at_key=True,
        )


def _learned_positions(recipe: Recipe, target: Target) -> Iterator[Broken]:
    names = support.models().get(target.model_type)
    if recipe.architecture.positions is not None and (names is None or not names.position_names):
        yield Broken(
            path=("architecture", "positions"),
            message=f"a {target.model_type} model has no trained positions that are known",
            hint="remove `architecture.positions`",
            at_key=True,
        )


def _experts(recipe: Recipe, target: Target) -> Iterator[Broken]:
    moe = recipe.architecture.moe
    for name in ("router_loss", "train_gate"):
        if getattr(moe, name) is not None and not number_of_experts(target.config):
            yield Broken(
                path=("architecture", "moe", name),
                message=f"`architecture.moe.{name}` does nothing: the model has no experts",
                hint="remove it, or take a mixture of experts (Mixtral, Qwen-MoE)",
                at_key=True,
            )


def _packing(recipe: Recipe, target: Target) -> Iterator[Broken]:
    names = support.models().get(target.model_type)
    if recipe.training.packing and (names is None or not names.packing):
        yield Broken(
            path=("training", "packing"),
            message=f"texts packed into one row would see each other in a {target.model_type}"
            " model",
            hint="set `training.packing: false`",
        )


WINDOW_SLACK = 16
"""Tokens of a window at least that its neighbour does not have: half of them may be the question's,
the rest holds special tokens and new context."""


def _windows(recipe: Recipe, target: Target) -> Iterator[Broken]:
    if recipe.task.type != "question-answering":
        return
    window = window_of(recipe, target.config)
    most = window - WINDOW_SLACK
    stride = recipe.task.doc_stride
    if stride is not None and stride > most > 0:
        yield Broken(
            path=("task", "doc_stride"),
            message=f"windows of {window} tokens cannot share {stride}: question and new context"
            f" need {WINDOW_SLACK} at least",
            hint=f"share at most {most}, or lengthen training.max_length",
        )
    elif window < 2 * WINDOW_SLACK:
        yield Broken(
            path=("training", "max_length") if recipe.training.max_length else ("task", "type"),
            message=f"a window of {window} tokens has no room for question and context",
            hint=f"windows have {2 * WINDOW_SLACK} tokens at least",
        )
