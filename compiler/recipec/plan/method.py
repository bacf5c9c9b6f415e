"""What the plan decides of `method`: which weights are trained, and how."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from recipec.catalog import support
from recipec.plan.model import number_of_experts
from recipec.recipe.schema import Recipe

if TYPE_CHECKING:
    # `recipec check` asks this module about lengths and models, and plans nothing.
    from recipec.plan.ledger import Ledger
    from recipec.plan.plan import MethodSettings

VIRTUAL_TOKENS = 20
"""Trained positions of prefix and prompt where the recipe does not say."""

Decided = dict[str, Any]


def plan_method(
    recipe: Recipe, ledger: Ledger, *, model_type: str, config: Mapping[str, Any]
) -> MethodSettings:
    """The method's settings; what it does not have keeps its default. `config` is config.json."""
    from recipec.plan.plan import MethodSettings

    method = recipe.method
    trains = support.methods()[method.type].trains
    ledger.keep("method", method, "type", f"trains {trains}")
    decide: dict[str, Callable[[], Decided]] = {
        "full": dict,
        "layernorm": dict,
        "lora": partial(_lora, recipe, ledger, model_type, config),
        "qlora": partial(_qlora, recipe, ledger, model_type, config),
        "bottleneck": partial(_bottleneck, recipe, ledger, model_type),
        "prefix": partial(_prefix, recipe, ledger),
        "prompt": partial(_prompt, recipe, ledger),
        "ia3": partial(_ia3, recipe, ledger, model_type),
    }
    return MethodSettings(type=method.type, **decide[method.type](), **_chosen(recipe, ledger))


def virtual_tokens(recipe: Recipe) -> int:
    """Positions of the model that the method takes for itself."""
    if recipe.method.type not in ("prefix", "prompt"):
        return 0
    return recipe.method.virtual_tokens or VIRTUAL_TOKENS


def _chosen(recipe: Recipe, ledger: Ledger) -> Decided:
    """What is trained beside the method's own weights, and what is never trained."""
    method, model = recipe.method, recipe.architecture
    owned = support.methods()[method.type].knobs
    also, frozen = list(method.also_train or ()), list(method.freeze or ())
    if "also_train" in owned:
        also += ["positions"] if model.positions == "trained" else []
        also += ["gates"] if model.moe.train_gate else []
    elif "freeze" in owned:
        frozen += ["positions"] if model.positions == "frozen" else []
        frozen += ["gates"] if model.moe.train_gate is False else []
    also, frozen = sorted(set(also)), sorted(set(frozen))
    if also:
        ledger.note("method.also_train", also, "the recipe says so", origin="recipe")
    if frozen:
        ledger.note("method.freeze", frozen, "the recipe says so", origin="recipe")
    return {"also_train": tuple(also), "freeze": tuple(frozen)}


def _lora(recipe: Recipe, ledger: Ledger, model_type: str, config: Mapping[str, Any]) -> Decided:
    method = recipe.method
    choose = partial(_choose, recipe, ledger)
    rank = choose("rank", 16, "enough for most single tasks")
    rslora = choose("rslora", False, "alpha / rank is usual")
    usual = round(2 * math.sqrt(rank)) if rslora else 2 * rank
    decided = {
        "rank": rank,
        "rslora": rslora,
        "alpha": choose("alpha", usual, "the update is then multiplied by 2"),
        "dropout": choose("dropout", 0.0, "peft's default"),
        "dora": choose("dora", False, "plain LoRA: DoRA is slower"),
        "lora_plus_ratio": method.lora_plus_ratio,
        "ranks": tuple(sorted(method.ranks.items())),
        "targets_given": method.target_modules is not None,
        "target_modules": _linear(recipe, ledger, model_type, config),
        "target_parameters": _experts(recipe, ledger, model_type, config),
    }
    if method.ranks:
        ledger.note("method.ranks", dict(decided["ranks"]), "the recipe says so", origin="recipe")
    if method.lora_plus_ratio is not None:
        reason = "the recipe says so"
        ledger.note("method.lora_plus_ratio", method.lora_plus_ratio, reason, origin="recipe")
    return decided


def _linear(
    recipe: Recipe, ledger: Ledger, model_type: str, config: Mapping[str, Any]
) -> tuple[str, ...]:
    names = support.models().get(model_type)
    known = list(names.linear) if names else []
    if model_type in ("t5", "mt5"):
        gated = str(config.get("feed_forward_proj", "relu")).startswith("gated")
        known = [name for name in known if name not in (("wi",) if gated else ("wi_0", "wi_1"))]
    reason = "every linear layer of the blocks (arXiv:2305.14314, section 4)"
    if not known:
        reason += f", found when the model is loaded: {model_type} is not in the catalogue"
    return tuple(sorted(_choose(recipe, ledger, "target_modules", known, reason)))


def _experts(
    recipe: Recipe, ledger: Ledger, model_type: str, config: Mapping[str, Any]
) -> tuple[str, ...]:
    """Fused weights of experts are no modules, so peft takes them by their parameters' names."""
    names, method = support.models().get(model_type), recipe.method
    if names is None or not names.experts or not number_of_experts(config):
        return ()
    found, reason = sorted(names.experts), "the experts are most of the model"
    if method.target_modules is not None:
        found, reason = [], "the recipe names what is adapted"
    elif method.dropout or method.dora:
        found, reason = [], "peft has neither dropout nor DoRA for fused experts"
    return tuple(ledger.note("method.target_parameters", found, reason))


def _qlora(recipe: Recipe, ledger: Ledger, model_type: str, config: Mapping[str, Any]) -> Decided:
    choose = partial(_choose, recipe, ledger)
    kind = choose("quantization", "nf4", "best of 4 bits for normal weights (arXiv:2305.14314)")
    double = kind == "nf4" and choose(
        "double_quantization", True, "saves 0.37 bits a weight (arXiv:2305.14314, section 3)"
    )
    lora = _lora(recipe, ledger, model_type, config)
    return {**lora, "quantization": kind, "double_quantization": double}


def _bottleneck(recipe: Recipe, ledger: Ledger, model_type: str) -> Decided:
    choose = partial(_choose, recipe, ledger)
    names = support.models()[model_type]
    placement = choose("placement", "pfeiffer", "half the weights for about the same result")
    layers = [names.feedforward_outputs]
    if placement == "houlsby":
        layers.insert(0, names.attention_outputs)
    return {
        "placement": placement,
        "adapted_layers": tuple(ledger.note("method.adapted_layers", layers, "from the catalogue")),
        "reduction_factor": choose("reduction_factor", 16, "arXiv:2005.00247's"),
        "dropout": choose("dropout", 0.0, "the adapter is small already"),
    }


def _prefix(recipe: Recipe, ledger: Ledger) -> Decided:
    choose = partial(_choose, recipe, ledger)
    return {
        "virtual_tokens": choose("virtual_tokens", VIRTUAL_TOKENS, _ENOUGH, "tokens"),
        "projection": choose("projection", False, "fewer weights, and it learns as well"),
    }


def _prompt(recipe: Recipe, ledger: Ledger) -> Decided:
    tokens = _choose(recipe, ledger, "virtual_tokens", VIRTUAL_TOKENS, _ENOUGH, "tokens")
    start = "embeddings of words drawn at random (arXiv:2104.08691, section 3.2)"
    return {
        "virtual_tokens": tokens,
        "init_text": _choose(recipe, ledger, "init_text", "", start),
    }


def _ia3(recipe: Recipe, ledger: Ledger, model_type: str) -> Decided:
    method, names = recipe.method, support.models().get(model_type)
    inputs = list(names.feedforward) if names else []
    if method.target_modules is not None:
        inputs = [name for name in inputs if name in method.target_modules]
    outputs = list(names.ia3) if names else []
    choose = partial(_choose, recipe, ledger)
    targets = choose("target_modules", outputs + inputs, "keys, values and the feed-forward layer")
    scaled = choose("feedforward_modules", inputs, "what is scaled at its input")
    return {
        "targets_given": method.target_modules is not None,
        "target_modules": tuple(sorted(targets)),
        "feedforward_modules": tuple(sorted(scaled)),
    }


_ENOUGH = "more help little on a model of billions of weights (arXiv:2104.08691, section 3.2)"


def _choose(
    recipe: Recipe, ledger: Ledger, name: str, default: Any, reason: str, unit: str = ""
) -> Any:
    return ledger.choose(f"method.{name}", getattr(recipe.method, name), default, reason, unit)
