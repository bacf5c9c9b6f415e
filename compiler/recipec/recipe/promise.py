"""Which promise about bytes a recipe makes: the one it names, or the strongest there is.

In: a recipe. Out: `portable`, `bitwise` or `seeded`. Pure.
"""

from __future__ import annotations

from recipec.recipe.schema import Recipe


def promise_of(recipe: Recipe) -> str:
    """The recipe's `reproducibility`, or what it is if left out."""
    return recipe.reproducibility or ("portable" if on_cpus(recipe) else "bitwise")


def on_cpus(recipe: Recipe) -> bool:
    """Whether it trains on CPUs."""
    return recipe.hardware.accelerator == "cpu"
