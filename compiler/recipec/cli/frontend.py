"""From a recipe's path to a checked `Recipe`: the part that every command shares.

A recipe whose very bytes, and those of its bases, were checked before by this very compiler is not
checked again: it comes from a record, and neither ruamel.yaml nor jsonschema is imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from recipec.cli.chain import Source, composed, read_chain
from recipec.cli.members import Checked, keep, pick, recall
from recipec.cli.project import Project
from recipec.errors import RecipeError
from recipec.recipe.document import Document, KeyPath
from recipec.recipe.given import given_values
from recipec.recipe.schema import Recipe
from recipec.recipe.splits import splits_of
from recipec.store import Store, canonical, sha256


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A checked recipe. `digest` is over its values: comments and layout do not change it."""

    project: Project
    recipe: Recipe
    digest: str
    sources: tuple[Source, ...]
    """The recipe's file, its base's, and so on."""

    def document(self) -> Document:
        """The recipe with its places, for diagnostics that come after the check."""
        from recipec.recipe.matrix import expand

        whole = composed(self.project, self.sources)
        own = (m.document for m in expand(whole) if m.name == self.project.member)
        return next(own, whole)


def load(project: Project, store: Store) -> Loaded:
    """Read and check a recipe. Raises RecipeError with every diagnostic at once.

    Raises UsageError when the recipe has a matrix and no member is named, or one it has not.
    """
    checked = recall(project, store)
    recipe = _converted(pick(project, checked)) if checked is not None else None
    if checked is None or recipe is None:
        checked = examine(project, store)
        recipe = msgspec.convert(pick(project, checked), Recipe)
    digest = recipe_digest(recipe)
    loaded = Loaded(project=project, recipe=recipe, digest=digest, sources=checked.sources)
    faults = list(_absent_files(loaded))
    if faults:
        document = loaded.document()
        raise RecipeError([document.diagnostic(path, what, hint) for path, what, hint in faults])
    return loaded


def examine(project: Project, store: Store) -> Checked:
    """Check a recipe, or every member of its matrix, and remember that it is good.

    Raises RecipeError with every diagnostic at once.
    """
    from recipec.recipe.matrix import has_matrix, recipes_of

    chain = read_chain(project)
    recipes = recipes_of(chain.document)
    checked = Checked(
        sources=chain.sources,
        matrix=has_matrix(chain.document),
        # As the record holds them: sorted, so that nothing depends on whether there is a record.
        recipes=tuple(json.loads(canonical(msgspec.to_builtins(recipe))) for recipe in recipes),
    )
    keep(project, checked, store)
    return checked


def _converted(plain: object) -> Recipe | None:
    """The recipe in a record; a foreign record counts as none."""
    try:
        return msgspec.convert(plain, Recipe)
    except msgspec.ValidationError:
        return None


def input_paths(loaded: Loaded) -> list[Path]:
    """Files and folders of the project that the recipe reads: the data, the model."""
    root, recipe = loaded.project.root, loaded.recipe
    paths = [root / path for _, _, path in _data_paths(recipe)]
    if recipe.architecture.model.startswith("path:"):
        model = root / recipe.architecture.model.removeprefix("path:")
        paths += [model, *(sorted(model.iterdir()) if model.is_dir() else ())]
    return paths


def _data_paths(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Section of `domain`, split, and path of each data file."""
    sections = {"data": recipe.domain.data, "corpus": recipe.domain.corpus}
    for section, data in sections.items():
        for split in splits_of(data) if data is not None else ():
            for path in split.paths:
                yield section, split.name, path


def recipe_digest(recipe: Recipe) -> str:
    """The digest of a recipe's values, but for where it runs: that moves no input and no byte."""
    return sha256(canonical(given_values(replace(recipe, deploy=None))))


def _absent_files(loaded: Loaded) -> Iterator[tuple[KeyPath, str, str]]:
    """What the recipe names in the project and the project does not have."""
    root = loaded.project.root
    for section, split, path in _data_paths(loaded.recipe):
        if os.path.isfile(root / path):  # noqa: PTH113 - never raises
            continue
        what = "is a folder" if os.path.isdir(root / path) else "is missing"  # noqa: PTH112
        hint = _similar(root, path) or f"paths are relative to {root}"
        if any(c in path for c in "*?["):
            hint = "a path names one file, and patterns are not followed: list the files"
        yield ("domain", section, split), f"the {split} file {what}: {path}", hint
    model = loaded.recipe.architecture.model
    if model.startswith("path:"):
        folder, is_file = root / model.removeprefix("path:"), model.endswith(".gguf")
        there = os.path.isfile if is_file else os.path.isdir
        if not there(folder):
            hint = _similar(root, model.removeprefix("path:")) or f"paths are relative to {root}"
            kind = "file" if is_file else "folder"
            yield ("architecture", "model"), f"there is no {kind} {model[5:]}", hint
        elif is_file:
            return
        elif not os.path.isfile(folder / "config.json"):  # noqa: PTH113
            yield (
                ("architecture", "model"),
                f"{model[5:]} is not a model: it has no config.json",
                "name a folder that `save_pretrained` wrote",
            )


def _similar(root: Path, path: str) -> str:
    import difflib

    parent = (root / path).parent
    if not os.path.isdir(parent):  # noqa: PTH112
        return ""
    name = Path(path).name
    names = sorted(entry.name for entry in parent.iterdir() if entry.name != name)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {(Path(path).parent / near[0]).as_posix()}?" if near else ""
