"""How many processes a recipe starts, and on how many machines.

In: a checked recipe. Out: a `Shape`. The plan decides it, for the number of processes changes the
bytes; a target only runs it. Pure.
"""

from __future__ import annotations

from recipec.emit.jobs.job import Shape
from recipec.plan.evaluation import plan_hardware
from recipec.plan.ledger import Ledger
from recipec.recipe.schema import Recipe


def shape_of(recipe: Recipe) -> Shape:
    """The processes of a recipe."""
    hardware = plan_hardware(recipe, Ledger())
    return Shape(
        accelerator=hardware.accelerator,
        processes=hardware.processes,
        nodes=hardware.nodes,
        threads=hardware.threads,
    )
