"""What the plan decides of `method`: which weights are trained, and how."""

from __future__ import annotations

from recipec.catalog import support
from recipec.plan.ledger import Ledger
from recipec.plan.plan import MethodSettings
from recipec.recipe.schema import Recipe


def plan_method(recipe: Recipe, ledger: Ledger, *, model_type: str) -> MethodSettings:
    """The method's settings; what it does not have keeps its default."""
    method = recipe.method
    trains = support.methods()[method.type].trains
    ledger.keep("method", method, "type", f"trains {trains}")
    if method.type != "lora":
        return MethodSettings(type=method.type)
    rank = ledger.choose("method.rank", method.rank, 16, "enough for most single tasks")
    names = support.models().get(model_type)
    return MethodSettings(
        type=method.type,
        rank=rank,
        alpha=ledger.choose("method.alpha", method.alpha, 2 * rank, "twice the rank"),
        dropout=ledger.choose("method.dropout", method.dropout, 0.0, "peft's default"),
        target_modules=tuple(
            sorted(
                ledger.choose(
                    "method.target_modules",
                    method.target_modules,
                    list(names.linear) if names else [],
                    "every linear layer of the blocks (arXiv:2305.14314, section 4)",
                )
            )
        ),
    )
