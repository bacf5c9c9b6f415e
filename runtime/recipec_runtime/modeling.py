"""Small helpers around models that every script would repeat.

In: a transformers model or config. Out: facts about it, or the model for a while in another mode.
torch is imported inside, after the environment is pinned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from recipec_runtime.errors import TrainingFailed

DROPOUTS = (
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "dropout",
    "dropout_rate",
    "embd_pdrop",
    "hidden_dropout_prob",
    "resid_pdrop",
)
"""Names under which configs keep a dropout probability."""


@contextmanager
def apart(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients; mode and random state are put back on leaving.

    Whatever is drawn inside, training goes on with the same dropout masks.
    """
    import torch

    training = model.training
    state = torch.get_rng_state()
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_rng_state(state)
        model.train(training)


def set_dropout(config: Any, probability: float) -> Any:
    """The config with every dropout it knows set to `probability`."""
    names = [name for name in DROPOUTS if hasattr(config, name)]
    if not names:
        raise TrainingFailed(
            f"a {config.model_type} model has no dropout to set",
            hint="leave architecture.dropout out of the recipe",
        )
    for name in names:
        setattr(config, name, probability)
    return config


def set_rope(config: Any, kind: str, factor: float) -> Any:
    """The config with rotary positions scaled to a context `factor` times as long.

    `kind` is transformers' name: linear, dynamic or yarn.
    """
    parameters = getattr(config, "rope_parameters", None)
    if not isinstance(parameters, dict):
        raise TrainingFailed(
            f"a {config.model_type} model has no rotary positions to scale",
            hint="leave architecture.rope out of the recipe",
        )
    longest = config.max_position_embeddings
    scaled = {
        "rope_type": kind,
        "factor": factor,
        "original_max_position_embeddings": longest,
    }
    nested = all(isinstance(value, dict) for value in parameters.values())
    for part in parameters.values() if nested else [parameters]:
        part.update(scaled)
    config.max_position_embeddings = int(longest * factor)
    return config


def head_layers(model: Any, missing: Iterable[str]) -> list[str]:
    """Names of the layers that must be trained and saved whole beside an adapter.

    They are the task's head (every child beside the base model that has weights) and any layer that
    the model's files lack and that was therefore made at random; `missing` are parameter names.
    """
    children = [
        name
        for name, child in model.named_children()
        if name != model.base_model_prefix and any(True for _ in child.parameters())
    ]
    layers = {name.rpartition(".")[0] for name in missing}
    inner = [layer for layer in layers if layer.partition(".")[0] not in children]
    return sorted([*children, *inner])


def decay_groups(
    model: Any, weight_decay: float, *, lora_plus_ratio: float | None = None
) -> list[dict[str, Any]]:
    """The trained parameters in groups: matrices decay, biases and norms do not.

    With `lora_plus_ratio`, LoRA's B matrices are a third group with that `rate`: a factor on the
    learning rate. Hayou et al. (2024), LoRA+, arXiv:2402.12354.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    fast = [p for name, p in trained if lora_plus_ratio is not None and ".lora_B." in name]
    slow = [p for name, p in trained if lora_plus_ratio is None or ".lora_B." not in name]
    groups = [
        {"params": [p for p in slow if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in slow if p.ndim < 2], "weight_decay": 0.0},
    ]
    if lora_plus_ratio is None:
        return groups
    return [*groups, {"params": fast, "weight_decay": weight_decay, "rate": lora_plus_ratio}]


@lru_cache(maxsize=1)  # a loop asks at every step, and walking through the modules takes a while
def trained_weights(model: Any) -> tuple[Any, ...]:
    """The parameters that are trained, in the model's order; which they are is fixed by then."""
    return tuple(p for p in model.parameters() if p.requires_grad)


def clip_gradients(model: Any, limit: float) -> float:
    """Scale the gradients down so that their norm is `limit` at most; the norm before that.

    As torch's `clip_grad_norm_`, to the byte; gradients that are small enough are left alone, where
    torch multiplies them by 1.
    """
    import torch

    weights = trained_weights(model)
    gradients = [p.grad for p in weights if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    value: float = norm.item()
    if not value < 0.999 * limit:  # near the limit, rounding is torch's own affair
        torch.nn.utils.clip_grads_with_norm_(weights, limit, norm)
    return value
