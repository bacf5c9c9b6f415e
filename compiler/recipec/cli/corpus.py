"""`domain.corpus`: the recipe that reads it, written beside the task's and compiled before it.

In: a recipe whose model is known. Out: the finished build of its corpus, whose trained model the
task begins with. The recipe that is written is a recipe like any other: it has a lock, a build
folder, a DVC stage; `run` and `verify` take it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipec.cli.frontend import Loaded
from recipec.cli.project import Project
from recipec.cli.state import Built
from recipec.plan.corpus import corpus_recipe
from recipec.progress import Progress
from recipec.store import Store, write_atomically

HEADER = (
    "# Written by recipec from `domain.corpus` of the recipes that name this text, and written\n"
    "# anew with them. It reads the text once for all; its name is a digest of what it says.\n"
)


def compile_corpus(
    loaded: Loaded,
    family: str,
    *,
    store: Store,
    progress: Progress,
    locked: bool,
    jobs: int | None,
) -> Built | None:
    """The build of the recipe's corpus, made if there is none; None for a recipe without one.

    Raises RecipecError of every kind.
    """
    if loaded.recipe.domain.corpus is None:
        return None
    from recipec.cli.compile import compile_recipe

    project = write_corpus(loaded.project, corpus_recipe(loaded.recipe, family))
    return compile_recipe(project, store=store, progress=progress, locked=locked, jobs=jobs)


def write_corpus(project: Project, plain: Mapping[str, Any]) -> Project:
    """Write the corpus' recipe beside the project's, unless it is there."""
    path = project.recipe.with_name(f"{plain['name']}.yaml")
    text = as_yaml(plain)
    if not path.is_file() or path.read_bytes() != text:
        write_atomically(path, text)
    return replace(project, recipe=path, member="")


def as_yaml(plain: Mapping[str, Any]) -> bytes:
    """Plain values as a recipe's text."""
    from ruamel.yaml import YAML

    stream = io.BytesIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 100
    writer.dump(dict(plain), stream)
    return HEADER.encode() + stream.getvalue()


def files_of(built: Built) -> list[Path]:
    """What a task's build depends on of its corpus' build."""
    names = ("run.json", "train.py", "image.digest")
    return [
        built.project.recipe,
        built.project.lock,
        *(built.folder / name for name in names),
    ]
