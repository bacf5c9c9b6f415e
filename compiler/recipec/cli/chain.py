"""The files of one recipe: itself, the base that it extends, that one's base and so on.

In: a project. Out: each file's bytes, and the composed `Document`. This is where bases are
read from disk; how they are put together is `recipec.recipe.compose`'s.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from recipec.cli.project import Project
from recipec.errors import Diagnostic, RecipeError, visible
from recipec.recipe.document import Document


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of a recipe, as it was read."""

    path: Path
    """Where it lies, links followed."""
    link: Path
    """Where it was looked for."""
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A recipe's files, its own first, and what they say together."""

    sources: tuple[Source, ...]
    document: Document


def read_source(project: Project) -> Source:
    """The recipe's own file. Raises RecipeError when it cannot be read."""
    try:
        data = project.recipe.read_bytes()
        return Source(path=project.recipe, link=project.recipe, data=data)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        file = project.shown(project.recipe)
        raise RecipeError([Diagnostic(file=file, line=0, column=0, message=message)]) from error


def composed(project: Project, sources: tuple[Source, ...]) -> Document:
    """The document that these files give together."""
    from recipec.recipe.compose import compose
    from recipec.recipe.read import read

    return compose([read(source.data, project.shown(source.path)) for source in sources])


def read_chain(project: Project) -> Chain:
    """The recipe's file and those of its bases, put together.

    Raises RecipeError for a base that is missing, outside of the project or not YAML, for bases
    that extend one another in a circle, and for what cannot be put together.
    """
    from recipec.recipe.compose import EXTENDS, MAX_CHAIN, circle, compose, extended
    from recipec.recipe.read import read

    first = read_source(project)
    sources, documents = [first], [read(first.data, project.shown(first.path))]
    while (named := extended(documents[-1])) is not None:
        here = documents[-1]
        if len(sources) == MAX_CHAIN:
            message = f"more than {MAX_CHAIN} recipes extend one another"
            raise RecipeError([here.diagnostic(EXTENDS, message, "merge some of the bases")])
        source = _base(project, sources[-1], here, named)
        known = [known.path for known in sources]
        if source.path in known:
            raise circle(documents[known.index(source.path) :])
        sources.append(source)
        documents.append(read(source.data, project.shown(source.path)))
    return Chain(sources=tuple(sources), document=compose(documents))


def _base(project: Project, above: Source, document: Document, named: str) -> Source:
    """The file that a recipe extends."""
    from recipec.recipe.compose import EXTENDS

    def refuse(message: str, hint: str) -> RecipeError:
        return RecipeError([document.diagnostic(EXTENDS, message, hint)])

    shown = visible(named)
    full = above.path.parent / named
    # os.path says False where Path raises: for a name that is too long, or holds a NUL.
    if not os.path.isfile(full):  # noqa: PTH113
        what = "is a folder" if os.path.isdir(full) else "is missing"  # noqa: PTH112
        hint = _similar(above.path, named) or "a base is named relative to the recipe that names it"
        raise refuse(f"the base {what}: {shown}", hint)
    path = full.resolve()
    if named.startswith("/") or not path.is_relative_to(project.root):
        hint = "name a recipe of this project, relative to this one"
        raise refuse(f"the base leaves the project: {shown}", hint)
    try:
        return Source(path=path, link=full, data=path.read_bytes())
    except OSError as error:
        raise refuse(f"the base cannot be read: {shown}: {error.strerror}", "") from error


def _similar(above: Path, named: str) -> str:
    import difflib

    folder = (above.parent / named).parent
    if not os.path.isdir(folder):  # noqa: PTH112
        return ""
    # The endings are left out: all names have them, and a .yml may be meant to be a .yaml.
    beside = {f.stem: f.name for f in sorted(folder.glob("*.y*ml")) if f != above}
    near = difflib.get_close_matches(Path(named).stem, beside, n=1, cutoff=0.6)
    return f"did you mean {(Path(named).parent / beside[near[0]]).as_posix()}?" if near else ""
