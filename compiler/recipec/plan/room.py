"""A plan that has room on its GPU: the micro-batch that the recipe leaves open, or a refusal.

In: a recipe for a GPU, how it is planned, the model's config.json. Out: the plan with the largest
micro-batch that fits. Runs on CPUs are never laid out: what memory they find is not known. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from recipec.catalog.hardware import find_accelerator
from recipec.plan.layout import DoesNotFit, Layout, Needs, lay_out
from recipec.plan.memory import CannotEstimate
from recipec.plan.plan import Decision, Plan
from recipec.recipe.schema import Recipe

_BATCH, _MICRO = "training.batch_size", "training.micro_batch_size"


def with_room(recipe: Recipe, decide: Callable[[Recipe], Plan], config: Mapping[str, Any]) -> Plan:
    """The plan of `decide`, with a micro-batch that fits. Raises DoesNotFit where none does.

    A model whose memory cannot be estimated is planned as on a CPU: its run may not fit.
    """
    plan, device = decide(recipe), find_accelerator(recipe.hardware.accelerator)
    assert device is not None, "the rules have seen to it"
    try:
        layout = lay_out(recipe, plan.settings, Needs(config), device)
    except CannotEstimate:
        return plan
    if layout is None:
        return plan
    if not layout.fits:
        raise DoesNotFit(layout)
    if recipe.training.micro_batch_size is not None:
        return plan
    training = replace(
        recipe.training,
        batch_size=plan.settings.training.batch_size,
        micro_batch_size=layout.micro_batch_size,
    )
    return _as_ours(decide(replace(recipe, training=training)), plan, layout)


def _as_ours(plan: Plan, before: Plan, layout: Layout) -> Plan:
    """The plan with the batch decided as `before`, and the micro-batch for the layout's reason."""
    was = {decision.key: decision for decision in before.decisions}

    def ours(one: Decision) -> Decision:
        if one.key == _BATCH:
            return was[_BATCH]
        if one.key == _MICRO:
            return replace(one, origin="derived", reason=layout.micro_batch_reason)
        return one

    return replace(plan, decisions=tuple(map(ours, plan.decisions)))
