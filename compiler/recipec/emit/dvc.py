"""The DVC stages of a recipe.

In: names and paths. Out: plain stages; `merge` puts them into the project's dvc.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass

from recipec.emit.dvcyaml import Stage, merge

__all__ = ["Stage", "StagePaths", "merge", "stages"]


@dataclass(frozen=True, kw_only=True)
class StagePaths:
    """Paths relative to dvc.yaml, with forward slashes."""

    recipe: str
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


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
