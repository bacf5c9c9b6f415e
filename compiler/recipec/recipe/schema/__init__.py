"""The recipe's types: the one source of the JSON Schema, the reference page and the defaults.

Values only. A field that is None was left open: `recipec.plan` decides it and says why. The
docstring of a section and the `description` of a field are what users read in their editor, in
docs/recipe.md and in error messages, so they are written for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from recipec.recipe.schema.architecture import Architecture, MixtureOfExperts, Rope
from recipec.recipe.schema.deploy import Deploy, TargetName, TargetSettings
from recipec.recipe.schema.domain import Corpus, Data, Domain
from recipec.recipe.schema.method import Method
from recipec.recipe.schema.surroundings import Evaluation, Hardware, ImageOptions
from recipec.recipe.schema.task import Fields, Task
from recipec.recipe.schema.training import EarlyStopping, Training
from recipec.recipe.schema.values import (
    NAME,
    MethodType,
    Metric,
    Reproducibility,
    TaskType,
    Text,
)

__all__ = [
    "Architecture",
    "Corpus",
    "Data",
    "Deploy",
    "Domain",
    "EarlyStopping",
    "Evaluation",
    "Fields",
    "Hardware",
    "ImageOptions",
    "Method",
    "MethodType",
    "Metric",
    "MixtureOfExperts",
    "Recipe",
    "Reproducibility",
    "Rope",
    "TargetName",
    "TargetSettings",
    "Task",
    "TaskType",
    "Training",
]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe for fine-tuning a language model."""

    recipe: Annotated[Literal["v1"], Meta(description="Version of the recipe language.")] = "v1"
    name: Annotated[
        str,
        Meta(
            description=(
                "Name of the recipe: its build folder, its DVC stages. Lower-case letters, digits"
                " and hyphens, at most 63."
            ),
            pattern=NAME,
        ),
    ]
    task: Annotated[Task, Meta(description="What the model must learn to do.")]
    domain: Annotated[Domain, Meta(description="What the data is about, and where it lies.")]
    architecture: Annotated[Architecture, Meta(description="The model to tune.")]
    method: Annotated[Method, Meta(description="Which weights are trained, and how.")] = field(
        default_factory=Method
    )
    training: Annotated[Training, Meta(description="The knobs of training.")] = field(
        default_factory=Training
    )
    evaluation: Annotated[
        Evaluation, Meta(description="How the tuned model is measured, and what it must reach.")
    ] = field(default_factory=Evaluation)
    hardware: Annotated[Hardware, Meta(description="What it runs on.")] = field(
        default_factory=Hardware
    )
    image: Annotated[ImageOptions, Meta(description="What the image is made of.")] = field(
        default_factory=ImageOptions
    )
    deploy: Annotated[
        Deploy | None,
        Meta(description="The services that the image is sent to, and their job documents."),
    ] = None
    extends: Annotated[
        Text | None,
        Meta(
            description=(
                "Another recipe to start from, by its path relative to this one; what stands here"
                " takes precedence, key by key."
            )
        ),
    ] = None
    matrix: Annotated[
        dict[str, Annotated[list[Any], Meta(min_length=1)]],
        Meta(
            description=(
                "Values to try by dotted key, such as `training.learning_rate: [1e-4, 3e-4]`: every"
                " combination becomes a recipe and DVC stages of its own."
            )
        ),
    ] = field(default_factory=dict)
    reproducibility: Annotated[
        Reproducibility | None,
        Meta(
            description=(
                "`portable`: the same bytes on every x86-64-v3 CPU, about half as fast. `bitwise`:"
                " the same bytes on every machine of one hardware class. `seeded`: seeded, but"
                " the bytes may differ."
            )
        ),
    ] = None
