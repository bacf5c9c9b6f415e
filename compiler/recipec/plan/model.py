"""What the plan decides of `architecture`: how the model computes, how long its inputs may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recipec.catalog import support
from recipec.pins.lockfile import Lock
from recipec.recipe.schema import Recipe

if TYPE_CHECKING:
    # `recipec check` asks this module about lengths and models, and plans nothing.
    from recipec.plan.ledger import Ledger
    from recipec.plan.plan import ModelSettings

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""Names under which configs keep the number of experts of a layer."""
LIMITS = ("max_position_embeddings", "n_positions")
"""Names under which configs of unknown architectures keep the longest input."""


def plan_model(
    recipe: Recipe,
    lock: Lock,
    ledger: Ledger,
    *,
    family: str,
    model_type: str,
    config: Mapping[str, Any],
) -> ModelSettings:
    """The model's settings; `config` is its config.json."""
    from recipec.plan.plan import ModelSettings

    architecture = recipe.architecture
    rope = architecture.rope
    experts = number_of_experts(config)
    return ModelSettings(
        family=family,
        type=model_type,
        source=architecture.model,
        commit=lock.model.commit,
        license=lock.model.license,
        attention=ledger.choose(
            "architecture.attention", architecture.attention, *_attention(model_type)
        ),
        dtype=ledger.choose(
            "architecture.dtype", architecture.dtype, "float32", "every CPU computes in it"
        ),
        dropout=ledger.keep("architecture", architecture, "dropout", "the model's own"),
        rope=None if rope is None else (rope.type, float(rope.factor)),
        experts=experts,
        router_loss=_router_loss(recipe, config, ledger) if experts else 0.0,
        gradient_checkpointing=architecture.gradient_checkpointing,
    )


def _attention(model_type: str) -> tuple[str, str]:
    """The attention implementation that is taken if none is named, and why."""
    names = support.models().get(model_type)
    if names is not None and "sdpa" not in names.attention:
        return "eager", f"transformers has no sdpa for {model_type}"
    return "sdpa", "exact, and fast on CPUs"


def number_of_experts(config: Mapping[str, Any]) -> int:
    """Experts of a layer; 0 for a dense model."""
    found = [config[key] for key in EXPERTS if isinstance(config.get(key), int)]
    return found[0] if found and found[0] > 1 else 0


def _router_loss(recipe: Recipe, config: Mapping[str, Any], ledger: Ledger) -> float:
    return float(
        ledger.choose(
            "architecture.moe.router_loss",
            recipe.architecture.moe.router_loss,
            float(config.get("router_aux_loss_coef") or 0.0),
            "the model's own",
        )
    )


def positions(config: Mapping[str, Any]) -> int:
    """The longest input in tokens that the model has positions for; 2^20 if there is no limit."""
    names = support.models().get(str(config.get("model_type")))
    for key in (names.position_limit,) if names is not None else LIMITS:
        if isinstance(config.get(key), int):
            return int(config[key]) - (_first_position(config, names) if names is not None else 0)
    return 1 << 20


def _first_position(config: Mapping[str, Any], names: support.ModelNames) -> int:
    """Rows of the position table that no token uses: RoBERTa's up to its padding token's id."""
    if not names.position_offset:
        return 0
    found = config.get(names.position_offset)
    return (found if isinstance(found, int) else 1) + 1
