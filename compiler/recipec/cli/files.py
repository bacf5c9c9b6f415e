"""What a recipe's own files in the project get wrong: the model's config, every data row.

In: a checked recipe. Out: diagnostics, at the recipe's lines or at the data's. It pins nothing and
asks no network: a model from elsewhere is looked at when it is locked.
"""

from __future__ import annotations

from recipec.catalog import support
from recipec.cli.frontend import Loaded
from recipec.errors import Diagnostic, RecipeError
from recipec.pins.data import read_data
from recipec.pins.models import ModelFacts, read_folder
from recipec.store import Store


def faults_of_files(loaded: Loaded, store: Store) -> list[Diagnostic]:
    """Every fault in the files that the recipe names in the project."""
    faults: list[Diagnostic] = []
    root, model = loaded.project.root, loaded.recipe.architecture.model
    try:
        read_data(loaded.recipe, project=root, store=store)
    except RecipeError as error:
        faults += error.diagnostics
    if model.startswith("path:"):
        try:
            refuse_impossible(loaded, read_folder(model, project=root, store=store).facts)
        except RecipeError as error:
            faults += error.diagnostics
    return faults


def refuse_impossible(loaded: Loaded, model: ModelFacts) -> None:
    """The cell of support.toml, now that the model's own config has told its family.

    Raises RecipeError at the recipe's line that names the model.
    """
    recipe, known = loaded.recipe, support.models()
    cell = support.cell(recipe.task.type, model.family, recipe.method.type)
    if not cell.supported:
        message = f"{cell.reason} ({recipe.architecture.model} is {model.family})"
        hint = cell.hint
    elif model.model_type not in known:
        message = f"this version does not know the architecture {model.model_type!r}"
        hint = f"architectures of this version: {', '.join(sorted(known))}"
    else:
        _refuse_long(loaded, model)
        return
    place = ("architecture", "model")
    raise RecipeError([loaded.document().diagnostic(place, message, hint)])


def _refuse_long(loaded: Loaded, model: ModelFacts) -> None:
    """Lengths beyond the model's positions would stop the training at its first long row."""
    from recipec.plan.model import positions

    longest, source = positions(model.config), loaded.recipe.architecture.model
    wrong = [
        loaded.document().diagnostic(
            ("training", name),
            f"training.{name} is {given}, and {source} has {longest} positions",
            f"use at most {longest}",
        )
        for name in ("max_length", "max_source_length", "max_target_length")
        if (given := getattr(loaded.recipe.training, name)) is not None and given > longest
    ]
    if wrong:
        raise RecipeError(wrong)
