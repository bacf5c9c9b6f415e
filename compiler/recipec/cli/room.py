"""Whether a recipe for GPUs fits them, as far as that is known before anything is locked.

In: a checked recipe, its data's facts, the model's if its files are here: in the project, or in the
store as an older lock names them. Out: the refusal that `recipec plan` would give, at the recipe's
line. It asks no network, and a recipe for CPUs never comes here.
"""

from __future__ import annotations

from collections.abc import Collection

from recipec.cli.frontend import Loaded
from recipec.errors import RecipecError, RecipeError, TooLarge
from recipec.pins.data.read import DataFacts
from recipec.pins.lockfile import GGUF, Lock, Model
from recipec.pins.models import ModelFacts, is_weights, pinned
from recipec.plan.make import make_plan
from recipec.store import Store


def refuse_too_large(loaded: Loaded, error: TooLarge) -> RecipeError:
    """A run that does not fit, as a fault of the line that names the device."""
    path = ("hardware", "accelerator")
    return RecipeError([loaded.document().diagnostic(path, error.message, error.hint)])


def at_hand(loaded: Loaded, store: Store) -> ModelFacts | None:
    """A model from elsewhere as the recipe's lock has it, if its small files are in the store."""
    from recipec.cli.compile import read_lock

    try:
        old = read_lock(loaded.project)
    except RecipecError:
        return None  # a torn lock is told of by the commands that read it
    model = old.model if old is not None else None
    if model is None or model.source != loaded.recipe.architecture.model:
        return None
    if not _here(model, store):
        return None
    sources = {file.sha256: store.path(file.sha256) for file in model.files}
    return pinned(
        model.source,
        model.files,
        sources,
        license=model.license,
        commit=model.commit,
        where=model.source,
    ).facts


def _here(model: Model, store: Store) -> bool:
    read: Collection[str] = [
        file.sha256 for file in model.files if file.path == GGUF or not is_weights(file.path)
    ]
    return bool(read) and all(store.has(digest) for digest in read)


def refuse_without_room(loaded: Loaded, facts: ModelFacts, data: DataFacts) -> None:
    """Plan the run as far as its memory needs it. Raises RecipeError where it does not fit."""
    model = Model(
        source=loaded.recipe.architecture.model,
        commit=facts.commit,
        license=facts.license,
        files=facts.files,
    )
    lock = Lock(
        recipe=loaded.project.reference,
        recipe_digest=loaded.digest,
        uv="",
        layer_format=0,
        wheels=(),
        debs=(),
        model=model,
        data=data.files,
        labels=data.labels,
        label_counts=data.label_counts,
    )
    try:
        make_plan(
            loaded.recipe,
            lock,
            family=facts.family,
            model_type=facts.model_type,
            config=facts.config,
        )
    except TooLarge as error:
        raise refuse_too_large(loaded, error) from error
