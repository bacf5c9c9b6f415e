"""`method` of a recipe: which weights are trained, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from recipec.recipe.schema.values import Count, MethodType, Probability, Text, Texts


@dataclass(frozen=True, kw_only=True)
class Method:
    """Which weights are trained, and how."""

    type: Annotated[MethodType, Meta(description="The fine-tuning method.")] = "lora"
    rank: Annotated[
        Count | None, Meta(description="Rank of the low-rank update (lora, qlora).")
    ] = None
    ranks: Annotated[
        dict[str, Count],
        Meta(
            description=(
                "Ranks of single modules, by regular expression of their names, such as"
                " `q_proj: 32` (lora, qlora)."
            )
        ),
    ] = field(default_factory=dict)
    alpha: Annotated[
        Count | None,
        Meta(description="Scale of the update; it is multiplied by alpha / rank (lora, qlora)."),
    ] = None
    dropout: Annotated[
        Probability | None,
        Meta(description="Dropout before the update (lora, qlora) or in the adapter (bottleneck)."),
    ] = None
    target_modules: Annotated[
        Texts | None,
        Meta(
            description=(
                "Names of the linear layers to adapt (lora, qlora, ia3); every linear layer of the"
                " blocks if left out."
            )
        ),
    ] = None
    feedforward_modules: Annotated[
        Texts | None,
        Meta(description="Which of target_modules are scaled at their input (ia3)."),
    ] = None
    dora: Annotated[
        bool | None,
        Meta(description="Train magnitude and direction apart, arXiv:2402.09353 (lora, qlora)."),
    ] = None
    rslora: Annotated[
        bool | None,
        Meta(description="Scale by alpha / sqrt(rank), arXiv:2312.03732 (lora, qlora)."),
    ] = None
    lora_plus_ratio: Annotated[
        Annotated[float, Meta(ge=1, le=1000)] | None,
        Meta(
            description=(
                "Learning rate of the B matrices over that of A, arXiv:2402.12354 (lora, qlora)."
            )
        ),
    ] = None
    quantization: Annotated[
        Literal["nf4", "int8"] | None,
        Meta(description="How the frozen weights are held: 4-bit NormalFloat or 8-bit (qlora)."),
    ] = None
    double_quantization: Annotated[
        bool | None,
        Meta(description="Quantize the quantization constants too (qlora with nf4)."),
    ] = None
    placement: Annotated[
        Literal["houlsby", "pfeiffer"] | None,
        Meta(
            description=(
                "Adapters after attention and feed-forward (houlsby) or after feed-forward only"
                " (pfeiffer) (bottleneck)."
            )
        ),
    ] = None
    reduction_factor: Annotated[
        Count | None,
        Meta(description="Hidden size over the adapter's inner size (bottleneck)."),
    ] = None
    virtual_tokens: Annotated[
        Count | None, Meta(description="Number of trained positions (prefix, prompt).")
    ] = None
    projection: Annotated[
        bool | None,
        Meta(description="Make the prefix by a small network while training (prefix)."),
    ] = None
    init_text: Annotated[
        Text | None,
        Meta(description="Text whose embeddings the prompt starts from (prompt)."),
    ] = None
    also_train: Annotated[
        Texts | None,
        Meta(
            description=(
                "What is trained beside the method's own: `head`, `norms`, `embeddings`, `gates`,"
                " or a regular expression of parameter names. A new head is always trained."
            )
        ),
    ] = None
    freeze: Annotated[
        Texts | None,
        Meta(
            description=(
                "What is never trained: `head`, `norms`, `embeddings`, `gates`, or a regular"
                " expression of parameter names (full, layernorm)."
            )
        ),
    ] = None
