"""What `domain.corpus` asks for: a recipe of its own, which reads the text before the task begins.

In: a recipe and its model's family. Out: that recipe as plain values, named by a digest of all of
them, so that every recipe with the same corpus, model and knobs shares one. Pure.
"""

from __future__ import annotations

import re
from typing import Any

from recipec.recipe.given import given_values
from recipec.recipe.schema import Recipe
from recipec.store import canonical, sha256

OBJECTIVES = {
    "encoder-only": "masked-lm",
    "decoder-only": "causal-lm",
    "encoder-decoder": "span-corruption",
}
"""How a model of each family learns from raw text: as it was pre-trained."""

NAME = re.compile(r"corpus-[0-9a-f]{12}")
_KNOBS = ("epochs", "steps", "learning_rate", "batch_size", "max_length")


def is_corpus(name: str) -> bool:
    """Whether a recipe was made from the `domain.corpus` of others."""
    return NAME.fullmatch(name) is not None


def corpus_recipe(recipe: Recipe, family: str) -> dict[str, Any]:
    """The recipe that reads the recipe's corpus with its model: every weight is trained."""
    corpus = recipe.domain.corpus
    assert corpus is not None, "the recipe has a corpus"
    plain: dict[str, Any] = {
        "task": _task(recipe, OBJECTIVES[family]),
        "domain": {"data": _given(train=corpus.train, validation=corpus.validation)},
        "architecture": given_values(recipe.architecture),
        "method": {"type": "full"},
        "training": _training(recipe, OBJECTIVES[family]),
        "hardware": given_values(recipe.hardware),
        "image": given_values(recipe.image),
    }
    if recipe.reproducibility is not None:
        plain["reproducibility"] = recipe.reproducibility
    plain = {key: value for key, value in plain.items() if value}
    digest = sha256(canonical(plain)).removeprefix("sha256:")
    return {"recipe": "v1", "name": f"corpus-{digest[:12]}", **plain}


def _task(recipe: Recipe, objective: str) -> dict[str, Any]:
    corpus = recipe.domain.corpus
    assert corpus is not None, "the recipe has a corpus"
    fields = {"fields": {"text": corpus.field}} if corpus.field else {}
    hidden = {} if objective == "causal-lm" else _given(mask_share=corpus.mask_share)
    if objective == "span-corruption":
        hidden |= _given(span_length=corpus.span_length)
    return {"type": objective, **fields, **hidden}


def _training(recipe: Recipe, objective: str) -> dict[str, Any]:
    corpus = recipe.domain.corpus
    knobs = _given(**{name: getattr(corpus, name) for name in _KNOBS})
    if "steps" not in knobs:
        knobs.setdefault("epochs", 1)
    if objective == "causal-lm":
        knobs["overlong"] = "split"
    # texts without words are no mistake in a corpus
    return {**knobs, "max_lost": 1.0, "seed": recipe.training.seed}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
