"""`domain` of a recipe: what the data is about, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from recipec.recipe.schema.values import Count, Positive, Share, Text, Texts


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data files: JSON Lines, JSON, CSV, Parquet or plain text, also gzip or zstd."""

    train: Annotated[
        Text | Texts, Meta(description="Rows to train on: a path in the project, or several.")
    ]
    validation: Annotated[
        Text | Texts | None,
        Meta(
            description=(
                "Rows to measure on while training, never trained on: paths, or a share of the"
                " training rows such as `10%`, drawn by `training.seed`."
            )
        ),
    ] = None
    test: Annotated[
        Text | Texts | None,
        Meta(description="Rows that only `evaluate` reads: paths, or a share such as `10%`."),
    ] = None
    format: Annotated[
        Literal["jsonl", "json", "csv", "tsv", "parquet", "text"] | None,
        Meta(
            description=(
                "Format of the files; told by the file name's ending if left out. In CSV and TSV a"
                " list or chat is written as JSON, several labels as `one|two`."
            )
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Text of the domain, which the model reads before it learns the task."""

    train: Annotated[
        Text | Texts, Meta(description="Files with raw text: a path in the project, or several.")
    ]
    validation: Annotated[
        Text | Texts | None,
        Meta(description="Text to measure on, never trained on: paths, or a share such as `5%`."),
    ] = None
    field: Annotated[
        Text | None,
        Meta(description="Column with the text, for files of rows; `text` if left out."),
    ] = None
    epochs: Annotated[Count | None, Meta(description="Passes over the text.")] = None
    steps: Annotated[Count | None, Meta(description="Optimizer steps, instead of epochs.")] = None
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0, le=10)] | None, Meta(description="Peak learning rate.")
    ] = None
    batch_size: Annotated[Count | None, Meta(description="Rows per optimizer step.")] = None
    max_length: Annotated[
        Count | None, Meta(description="Length of a row, in tokens; texts are packed to it.")
    ] = None
    mask_share: Annotated[
        Share | None,
        Meta(
            description=(
                "Share of the tokens that are hidden and must be told (masked and span-corruption"
                " objectives)."
            )
        ),
    ] = None
    span_length: Annotated[
        Positive | None,
        Meta(description="Mean tokens of a hidden span (encoder-decoder models)."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What the data is about, and where it lies."""

    data: Annotated[Data, Meta(description="The data files.")]
    name: Annotated[Text | None, Meta(description="The domain in a word, for the model card.")] = (
        None
    )
    license: Annotated[
        Text | None,
        Meta(description="The data's licence as an SPDX identifier, such as CC0-1.0."),
    ] = None
    corpus: Annotated[
        Corpus | None,
        Meta(description="Text for continued pre-training before the task, as a stage of its own."),
    ] = None
