"""What a recipe's own files in the project get wrong: the model's config, every data row.

In: a checked recipe. Out: diagnostics, at the recipe's lines or at the data's. It pins nothing and
asks no network: a model from elsewhere is looked at when it is locked.
"""

from __future__ import annotations

from collections.abc import Iterator

from recipec.cli.frontend import Loaded
from recipec.errors import Diagnostic, NoSuchPackage, RecipecError, RecipeError
from recipec.pins.data import read_corpus, read_data
from recipec.pins.data.read import DataFacts
from recipec.pins.models import ModelFacts, read_folder
from recipec.plan.fit import Target, misfits
from recipec.plan.refusals import silent_models
from recipec.recipe.bases import MUST, digest_in, in_registry
from recipec.recipe.promise import on_cpus
from recipec.store import Store


def faults_of_files(loaded: Loaded, store: Store) -> list[Diagnostic]:
    """Every fault in the files that the recipe names in the project."""
    faults: list[Diagnostic] = [*_moving_base(loaded)]
    root, model = loaded.project.root, loaded.recipe.architecture.model
    data, facts = None, None
    try:
        data = read_data(loaded.recipe, project=root, store=store)
    except RecipeError as error:
        faults += error.diagnostics
    if loaded.recipe.domain.corpus:
        try:
            read_corpus(loaded.recipe, project=root, store=store)
        except RecipeError as error:
            faults += error.diagnostics
    if model.startswith("path:"):
        try:
            allow = loaded.recipe.architecture.allow
            facts = read_folder(model, project=root, store=store, allow=allow).facts
            refuse_impossible(loaded, facts)
        except RecipeError as error:
            faults += error.diagnostics
    if not faults and data is not None and not on_cpus(loaded.recipe):
        faults += _without_room(loaded, store, facts, data)
    if loaded.recipe.deploy is not None:
        from recipec.cli.jobs import faults_of_jobs

        faults += faults_of_jobs(loaded)
    return faults


def _without_room(
    loaded: Loaded, store: Store, facts: ModelFacts | None, data: DataFacts
) -> tuple[Diagnostic, ...]:
    """GPUs with too little memory, where the model is in the project, or locked and here."""
    from recipec.cli.room import at_hand, refuse_without_room

    try:
        if facts is None and (facts := at_hand(loaded, store)) is not None:
            refuse_impossible(loaded, facts)
        if facts is not None:
            refuse_without_room(loaded, facts, data)
    except RecipeError as error:
        return error.diagnostics
    return ()


def _moving_base(loaded: Loaded) -> Iterator[Diagnostic]:
    """A base by tag alone."""
    base = loaded.recipe.image.base
    if in_registry(base) and not digest_in(base):
        hint = f"write {base}@sha256:...; `recipec lock` asks the registry for the digest"
        yield loaded.document().diagnostic(("image", "base"), MUST, hint)


def refuse_impossible(loaded: Loaded, model: ModelFacts) -> None:
    """What does not fit, now that the model's own config is known.

    Raises RecipeError at the recipe's lines.
    """
    target = Target(family=model.family, model_type=model.model_type, config=model.config)
    wrong = [*misfits(loaded.recipe, target), *silent_models(loaded.recipe, chats=model.chats)]
    if wrong:
        document = loaded.document()
        raise RecipeError(
            [document.diagnostic(w.path, w.message, w.hint, key=w.at_key) for w in wrong]
        )


def at_its_line(loaded: Loaded, error: NoSuchPackage) -> RecipecError:
    """A missing Debian package as a fault of the recipe's line, if the recipe names it."""
    names = loaded.recipe.image.packages
    if error.package not in names:
        return error
    path = ("image", "packages", names.index(error.package))
    return RecipeError([loaded.document().diagnostic(path, error.message, error.hint)])
