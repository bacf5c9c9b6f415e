"""Where things of a recipe lie: the project's root, the lock, the build folder, dvc.yaml.

In: the path of a recipe, or `PATH:MEMBER` for one member of its matrix. Out: paths. It reads no
file's content.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from recipec.errors import Diagnostic, RecipeError

MARKERS = (".dvc", ".git", "dvc.yaml")


@dataclass(frozen=True, kw_only=True)
class Project:
    """The folder that every path of a recipe is relative to."""

    root: Path
    recipe: Path
    build: Path
    """The folder that holds a build folder for each recipe."""
    member: str = ""
    """The member of the recipe's matrix that is meant, empty for a recipe as a whole."""

    @property
    def reference(self) -> str:
        """The recipe or member as commands take it, relative to the root."""
        return self.relative(self.recipe) + (f":{self.member}" if self.member else "")

    @property
    def lock(self) -> Path:
        """The lock of the recipe or of the member, beside the recipe."""
        return self.recipe.with_name(f"{self.member or self.recipe.stem}.lock.json")

    @property
    def dvc(self) -> Path:
        """The project's dvc.yaml."""
        return self.root / "dvc.yaml"

    def folder(self, name: str) -> Path:
        """The build folder of the recipe `name`."""
        return self.build / name

    def shown(self, path: Path) -> str:
        """A path as users should see it: relative to where they stand, if it is below."""
        here = Path.cwd()
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

    def relative(self, path: Path) -> str:
        """A path relative to the root with forward slashes, as dvc.yaml names it."""
        return Path(os.path.relpath(path, self.root)).as_posix()


def find_project(recipe: Path, build: Path | None = None) -> Project:
    """The project of a recipe: the nearest folder above it with .dvc, .git or dvc.yaml.

    Without any of these it is the working folder if the recipe is below it, else the recipe's own
    folder. `PATH:MEMBER` names one member of the matrix in the recipe at PATH. Raises RecipeError
    when there is no such recipe.
    """
    path, member = split_member(recipe)
    full = path.absolute()
    # os.path says False where Path raises: for a name that is too long, a folder that is closed.
    if not os.path.isfile(full):  # noqa: PTH113
        what = "is a folder, not a recipe" if os.path.isdir(full) else "there is no such recipe"  # noqa: PTH112
        raise RecipeError(
            [Diagnostic(file=str(recipe), line=0, column=0, message=what, hint=_nearest(full))]
        )
    full = full.resolve()
    root = root_of(full)
    return Project(
        root=root, recipe=full, build=(build or root / "build").absolute(), member=member
    )


def root_of(recipe: Path) -> Path:
    """The root of the project that a recipe belongs to, whether it is there or not."""
    here = Path.cwd().resolve()
    fallback = here if recipe.is_relative_to(here) else recipe.parent
    marked = (f for f in recipe.parents if any((f / marker).exists() for marker in MARKERS))
    return next(marked, fallback)


def split_member(recipe: Path) -> tuple[Path, str]:
    """The file and the member that `PATH:MEMBER` means; a file of that very name comes first."""
    path, colon, member = str(recipe).rpartition(":")
    if not colon or os.path.isfile(recipe) or not os.path.isfile(path):  # noqa: PTH113
        return recipe, ""
    return Path(path), member


def _nearest(missing: Path) -> str:
    import difflib

    folder = missing.parent
    names = sorted(f.name for f in folder.glob("*.y*ml")) if os.path.isdir(folder) else []  # noqa: PTH112
    near = difflib.get_close_matches(missing.name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]}?"
    if os.path.isdir(missing):  # noqa: PTH112
        return "name the .yaml file in it"
    return "start one with `recipec init NAME`"
