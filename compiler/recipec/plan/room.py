"""A plan that has room on its GPUs: what the recipe leaves open of micro-batch and parallelism.

In: a recipe for GPUs, how it is planned, the model's config.json. Out: the plan with the largest
micro-batch that fits, and of several processes with DDP or FSDP; or a refusal. Runs on CPUs are
never laid out: what memory they find is not known. Pure.
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
_PARALLELISM = "hardware.parallelism"


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
    if recipe.training.micro_batch_size is None:
        training = replace(
            recipe.training,
            batch_size=plan.settings.training.batch_size,
            micro_batch_size=layout.micro_batch_size,
        )
        recipe = replace(recipe, training=training)
    if layout.parallelism != "none":
        hardware = replace(recipe.hardware, parallelism=layout.parallelism)
        recipe = replace(recipe, hardware=hardware)
    return _as_ours(decide(recipe), plan, layout)


def _as_ours(plan: Plan, before: Plan, layout: Layout) -> Plan:
    """The plan with what the recipe says decided as `before`, and all else for the layout's reason.

    `plan` was made of a recipe that says what the layout has found.
    """
    was = {decision.key: decision for decision in before.decisions}
    found = {_MICRO: layout.micro_batch_reason, _PARALLELISM: layout.parallelism_reason}

    def ours(one: Decision) -> Decision:
        old = was.get(one.key)
        if old is not None and (old.origin == "recipe" or one.key == _BATCH):
            return old
        if one.key in found:
            return replace(one, origin="derived", reason=found[one.key])
        return one

    return replace(plan, decisions=tuple(map(ours, plan.decisions)))
