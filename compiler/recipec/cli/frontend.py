"""From a recipe's path to a checked `Recipe`: the part that every command shares.

A recipe whose very bytes were checked before by this very compiler is not checked again: it comes
from a record, and neither ruamel.yaml nor jsonschema is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from recipec.cli.fingerprint import compiler_fingerprint
from recipec.cli.project import Project
from recipec.errors import Diagnostic, RecipeError
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
    source: bytes

    def document(self) -> Document:
        """The recipe with its places, for diagnostics that come after the check."""
        from recipec.recipe.read import read

        return read(self.source, self.project.shown(self.project.recipe))


def load(project: Project, store: Store) -> Loaded:
    """Read and check a recipe. Raises RecipeError with every diagnostic at once."""
    try:
        source = project.recipe.read_bytes()
    except OSError as error:
        raise _unreadable(project, error) from error
    key = sha256(f"{sha256(source)} {compiler_fingerprint()}".encode())
    recipe = _known(store.record("checked", key))
    if recipe is None:
        from recipec.recipe.check import check
        from recipec.recipe.read import read

        recipe = check(read(source, project.shown(project.recipe)))
        store.put_record("checked", key, msgspec.to_builtins(recipe))
    loaded = Loaded(project=project, recipe=recipe, digest=recipe_digest(recipe), source=source)
    faults = list(_absent_files(loaded))
    if faults:
        document = loaded.document()
        raise RecipeError([document.diagnostic(path, what, hint) for path, what, hint in faults])
    return loaded


def _known(record: object) -> Recipe | None:
    """The recipe in a record; a foreign record counts as none."""
    try:
        return msgspec.convert(record, Recipe)
    except msgspec.ValidationError:
        return None


def input_paths(loaded: Loaded) -> list[Path]:
    """Files and folders of the project that the recipe reads: the data, the model's folder."""
    root, recipe = loaded.project.root, loaded.recipe
    paths = [root / path for split in splits_of(recipe.domain.data) for path in split.paths]
    if recipe.architecture.model.startswith("path:"):
        folder = root / recipe.architecture.model.removeprefix("path:")
        paths += [folder, *sorted(folder.iterdir())]
    return paths


def recipe_digest(recipe: Recipe) -> str:
    """The digest of a recipe's values."""
    return sha256(canonical(given_values(recipe)))


def _unreadable(project: Project, error: OSError) -> RecipeError:
    message = f"cannot be read: {error.strerror}"
    file = project.shown(project.recipe)
    return RecipeError([Diagnostic(file=file, line=0, column=0, message=message)])


def _absent_files(loaded: Loaded) -> Iterator[tuple[KeyPath, str, str]]:
    """What the recipe names in the project and the project does not have."""
    root = loaded.project.root
    for split in splits_of(loaded.recipe.domain.data):
        for path in split.paths:
            if os.path.isfile(root / path):  # noqa: PTH113 - never raises
                continue
            what = "is a folder" if os.path.isdir(root / path) else "is missing"  # noqa: PTH112
            hint = _similar(root, path) or f"paths are relative to {root}"
            yield ("domain", "data", split.name), f"the {split.name} file {what}: {path}", hint
    model = loaded.recipe.architecture.model
    if model.startswith("path:"):
        folder = root / model.removeprefix("path:")
        if not os.path.isdir(folder):  # noqa: PTH112
            hint = _similar(root, model.removeprefix("path:")) or f"paths are relative to {root}"
            yield ("architecture", "model"), f"there is no folder {model[5:]}", hint
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
