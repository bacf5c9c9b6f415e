"""The DVC stages of a recipe.

In: names and paths. Out: plain stages; `merge` puts them into the project's dvc.yaml.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from recipec.emit.dvcyaml import Stage, commands, dependencies, merge
from recipec.plan.corpus import is_corpus

__all__ = ["Stage", "StagePaths", "left", "merge", "stages", "unread"]


@dataclass(frozen=True, kw_only=True)
class StagePaths:
    """Paths relative to dvc.yaml, with forward slashes."""

    recipe: str
    """The recipe, or `RECIPE:MEMBER` for one member of its matrix."""
    lock: str
    build: str
    """The recipe's build folder."""
    train_inputs: tuple[str, ...]
    """Data and model paths that training reads from the project."""
    evaluate_inputs: tuple[str, ...]
    options: str = ""
    """What `recipec run` needs beside the recipe, such as ` -o DIR`."""


def stages(name: str, paths: StagePaths) -> dict[str, Stage]:
    """`NAME-train` and `NAME-evaluate`. The image comes in by a file that holds its digest."""
    build = paths.build
    trained = f"{build}/train"
    evaluated = f"{build}/evaluate"
    digest = f"{build}/image.digest"
    return {
        f"{name}-train": {
            "cmd": f"recipec run {_quoted(paths.recipe)} --stage train{paths.options}",
            "deps": sorted({f"{build}/train.py", digest, paths.lock, *paths.train_inputs}),
            "outs": [f"{trained}/history.jsonl", f"{trained}/model", f"{trained}/receipt.json"],
            "metrics": [f"{trained}/metrics.json"],
            "plots": [{f"{trained}/history.csv": {"x": "step", "y": "loss"}}],
        },
        f"{name}-evaluate": {
            "cmd": f"recipec run {_quoted(paths.recipe)} --stage evaluate{paths.options}",
            "deps": sorted(
                {
                    f"{build}/evaluate.py",
                    digest,
                    paths.lock,
                    f"{trained}/model",
                    *paths.evaluate_inputs,
                }
            ),
            "outs": [f"{evaluated}/predictions.jsonl", f"{evaluated}/receipt.json"],
            "metrics": [f"{evaluated}/metrics.json"],
        },
    }


def left(
    existing: bytes, *, recipe: str, names: AbstractSet[str], keep: AbstractSet[str], file: str
) -> dict[str, str]:
    """Stages of former members of a recipe's matrix, with the members' names.

    `names` are the members that there are, the empty name alone for a recipe without a matrix;
    `keep` are stages that stay whatever they run. Only stages under the names and with the commands
    that recipec gives are found. Raises RecipeError when `existing` is not a dvc.yaml.
    """
    found = {}
    for stage, command in commands(existing, file=file).items():
        member = _member_run_by(command, recipe, stage)
        if member is not None and stage not in keep and member not in names:
            found[stage] = member or stage.rpartition("-")[0]
    return found


def unread(existing: bytes, *, file: str) -> list[str]:
    """Stages of corpora whose model no stage begins with: knobs changed, or a recipe went."""
    needs = dependencies(existing, file=file)
    read = {path for paths in needs.values() for path in paths}
    corpora = [stage.removesuffix("-train") for stage in needs if stage.endswith("-train")]
    return [
        f"{name}-train"
        for name in corpora
        if is_corpus(name) and not any(path.endswith(f"/{name}/train/model") for path in read)
    ]


def _member_run_by(command: str, recipe: str, stage: str) -> str | None:
    """The member of `recipe` that a stage of recipec's runs, empty for all of it; else None."""
    import shlex

    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if words[:2] != ["recipec", "run"] or words[3:4] != ["--stage"] or len(words) < 5:
        return None
    if words[5:] and words[5:6] + words[7:] != ["-o"]:
        return None
    path, colon, member = words[2].rpartition(":")
    if not colon or path != recipe:
        path, member = words[2], ""
    name, _, step = stage.rpartition("-")
    ours = path == recipe and step == words[4] and member in {"", name}
    return member if ours else None


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
