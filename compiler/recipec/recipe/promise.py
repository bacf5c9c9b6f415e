"""Which promise about bytes a recipe makes: the one it names, or the strongest that can be kept.

In: a recipe. Out: `portable`, `bitwise` or `seeded`. Pure.
"""

from __future__ import annotations

from recipec.recipe.schema import Recipe


def holds_four_bits(recipe: Recipe) -> bool:
    """Whether the frozen weights are held in 4 bits, unpacked as the CPU has it."""
    return recipe.method.type == "qlora" and recipe.method.quantization in (None, "nf4")


def promise_of(recipe: Recipe) -> str:
    """The recipe's `reproducibility`, or what it is if left out."""
    if recipe.reproducibility is not None:
        return recipe.reproducibility
    return "bitwise" if holds_four_bits(recipe) else "portable"
