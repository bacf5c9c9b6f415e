"""Methods that a certain model cannot be trained with: known once its config.json is.

In: a checked recipe and facts of the model. Out: what does not fit, by path of the recipe, each
with its reason. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipec.catalog import support
from recipec.plan.method import virtual_tokens
from recipec.plan.model import number_of_experts
from recipec.recipe.promise import promise_of
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe

WITHOUT_PREFIX = ("deberta-v2", "distilbert", "modernbert")
"""Architectures whose attention takes no keys and values from outside in transformers 5.23."""

WITH_SQUARE_ROOTS = (
    "bailing_hybrid",
    "deberta",
    "gemma3n_text",
    "glm5_next_text",
    "kimi_linear",
    "muse_spark_text",
    "qwen4_exp_text",
    "recurrent_gemma",
)
"""Architectures that call `torch.sqrt` on activations in transformers 5.23: the one operation whose
bytes differ between CPUs under the portable settings (docs/portability.md)."""

_TYPE = ("method", "type")


def method_faults(
    recipe: Recipe, *, model_type: str, config: Mapping[str, Any], longest: int
) -> Iterator[Broken]:
    """What the recipe's method asks of a model that this one has not.

    `config` is the model's config.json, `longest` its longest input in tokens.
    """
    for fault in (_prefix, _bottleneck, _quantized_experts, _unknown_scales, _square_roots):
        yield from fault(recipe, model_type, config)
    yield from _no_room(recipe, longest)


def silent_models(recipe: Recipe, *, chats: bool) -> Iterator[Broken]:
    """A chat needs a template: the recipe's, or that of the model, if it `chats`."""
    chosen = recipe.task.chat_template
    if recipe.task.type == "instruction" and chosen in (None, "model") and not chats:
        yield Broken(
            path=("task", "chat_template") if chosen else ("architecture", "model"),
            message=f"{recipe.architecture.model} has no chat template of its own",
            hint="set `task.chat_template` to chatml, alpaca or plain",
        )


def _prefix(recipe: Recipe, model_type: str, _: Mapping[str, Any]) -> Iterator[Broken]:
    if recipe.method.type == "prefix" and model_type in WITHOUT_PREFIX:
        yield Broken(
            path=_TYPE,
            message=f"a {model_type} model takes no keys and values from outside, so it has no"
            " prefix",
            hint="choose prompt, lora, bottleneck or ia3",
        )


def _bottleneck(recipe: Recipe, model_type: str, _: Mapping[str, Any]) -> Iterator[Broken]:
    names = support.models().get(model_type)
    known = names is not None and names.attention_outputs and names.feedforward_outputs
    if recipe.method.type == "bottleneck" and not known:
        yield Broken(
            path=_TYPE,
            message=f"where attention and feed-forward end in a {model_type} model is not known, so"
            " there is no place for bottleneck adapters",
            hint="choose lora: it finds the linear layers of any model",
        )


def _quantized_experts(
    recipe: Recipe, model_type: str, config: Mapping[str, Any]
) -> Iterator[Broken]:
    if recipe.method.type == "qlora" and number_of_experts(config):
        yield Broken(
            path=_TYPE,
            message=f"the experts of a {model_type} model are fused weights, which bitsandbytes"
            " leaves as they are: hardly anything would be quantized",
            hint="choose lora",
        )


def _unknown_scales(recipe: Recipe, model_type: str, _: Mapping[str, Any]) -> Iterator[Broken]:
    method = recipe.method
    named = method.target_modules is not None and method.feedforward_modules is not None
    if method.type == "ia3" and model_type not in support.models() and not named:
        yield Broken(
            path=_TYPE,
            message=f"which layers of a {model_type} model ia3 scales is not known",
            hint="name its key, value and second feed-forward layers in `method.target_modules`,"
            " and the last also in `method.feedforward_modules`",
        )


def _no_room(recipe: Recipe, longest: int) -> Iterator[Broken]:
    taken = virtual_tokens(recipe)
    if not taken:
        return
    if taken >= longest:
        yield Broken(
            path=("method", "virtual_tokens"),
            message=f"{taken} virtual tokens leave no room: the model has {longest} positions",
            hint="use fewer",
        )
        return
    for name in ("max_length", "max_source_length", "max_target_length"):
        given = getattr(recipe.training, name)
        if given is not None and longest - taken < given <= longest:
            yield Broken(
                path=("training", name),
                message=f"training.{name} is {given}; of the model's {longest} positions the"
                f" virtual tokens take {taken}",
                hint=f"use at most {longest - taken}",
            )


def _square_roots(recipe: Recipe, model_type: str, _: Mapping[str, Any]) -> Iterator[Broken]:
    if model_type in WITH_SQUARE_ROOTS and promise_of(recipe) == "portable":
        yield Broken(
            path=("architecture", "model"),
            message=f"a {model_type} model takes square roots, which differ in the last bit between"
            " CPUs, so the run cannot be portable",
            hint="set `reproducibility: bitwise`, or choose another model",
        )
