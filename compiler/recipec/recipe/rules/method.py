"""Rules of `method`: keys that are another method's, and values that do not go together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields

from recipec.catalog import support
from recipec.recipe.document import KeyPath
from recipec.recipe.rules.broken import Broken
from recipec.recipe.rules.task import is_given
from recipec.recipe.schema import Recipe

VIRTUAL = ("prefix", "prompt")
"""Methods that put trained positions before the text."""


def _method_knobs(recipe: Recipe) -> Iterator[Broken]:
    knobs = support.methods()[recipe.method.type].knobs
    for knob in fields(recipe.method):
        if knob.name == "type" or not is_given(recipe.method, knob.name):
            continue
        if knob.name not in knobs:
            owners = [name for name, facts in support.methods().items() if knob.name in facts.knobs]
            yield Broken(
                path=("method", knob.name),
                message=f"`method.{knob.name}` does nothing with method {recipe.method.type}",
                hint=f"remove it, or choose one of: {', '.join(owners)}",
                at_key=True,
            )


def _expressions(recipe: Recipe) -> Iterator[Broken]:
    method = recipe.method
    given: list[tuple[KeyPath, str]] = [
        *((("method", "also_train", n), text) for n, text in enumerate(method.also_train or ())),
        *((("method", "freeze", n), text) for n, text in enumerate(method.freeze or ())),
        *((("method", "ranks", text), text) for text in method.ranks),
    ]
    for path, text in given:
        try:
            re.compile(text)
        except re.error as error:
            yield Broken(
                path=path,
                message=f"{text!r} is not a regular expression: {error}",
                hint="a name such as `lm_head` is one; a dot within it is written `\\.`",
            )


def _feedforward(recipe: Recipe) -> Iterator[Broken]:
    method = recipe.method
    if method.target_modules is None or method.feedforward_modules is None:
        return
    for number, name in enumerate(method.feedforward_modules):
        if name not in method.target_modules:
            yield Broken(
                path=("method", "feedforward_modules", number),
                message=f"{name!r} is not among the target_modules, so nothing of it is scaled",
                hint="name it in both lists",
            )


def _double_quantization(recipe: Recipe) -> Iterator[Broken]:
    method = recipe.method
    if method.quantization == "int8" and method.double_quantization is not None:
        yield Broken(
            path=("method", "double_quantization"),
            message="`method.double_quantization` does nothing with int8",
            hint="remove it, or set `quantization: nf4`",
            at_key=True,
        )


def _dora_in_eight_bits(recipe: Recipe) -> Iterator[Broken]:
    """Seen with peft 0.21.2 and bitsandbytes 0.50.2: the training stops at its first step."""
    if recipe.method.quantization == "int8" and recipe.method.dora:
        yield Broken(
            path=("method", "dora"),
            message="DoRA does not work over int8 weights: bitsandbytes loses their scales",
            hint="leave `dora` out, or set `quantization: nf4`",
            at_key=True,
        )


def _virtual_tokens(recipe: Recipe) -> Iterator[Broken]:
    if recipe.method.type not in VIRTUAL:
        return
    if recipe.training.packing:
        yield Broken(
            path=("training", "packing"),
            message=f"packing cannot be exact with method {recipe.method.type}: its positions stand"
            " before a row, and a packed row holds several texts",
            hint="leave packing out, or choose another method",
        )
    if recipe.method.type == "prefix" and recipe.architecture.gradient_checkpointing:
        yield Broken(
            path=("architecture", "gradient_checkpointing"),
            message="a prefix is kept in the attention's cache, which gradient checkpointing drops",
            hint="leave gradient_checkpointing out, or choose prompt, lora or bottleneck",
        )


def _cannot_also_train(recipe: Recipe) -> Iterator[Broken]:
    """Parts of the model that an adapter without `also_train` can only leave frozen."""
    method, model = recipe.method, recipe.architecture
    knobs = support.methods()[method.type].knobs
    if "also_train" in knobs or method.type == "full":
        return
    asked = {
        ("architecture", "positions"): model.positions == "trained",
        ("architecture", "moe", "train_gate"): bool(model.moe.train_gate),
    }
    for path, wanted in asked.items():
        if wanted:
            yield Broken(
                path=path,
                message=f"method {method.type} trains nothing of the model itself",
                hint="leave it out, or choose full, layernorm, lora, qlora, bottleneck or ia3",
                at_key=True,
            )


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (
    _method_knobs,
    _expressions,
    _feedforward,
    _double_quantization,
    _dora_in_eight_bits,
    _virtual_tokens,
    _cannot_also_train,
)
