"""How many processes a recipe trains with. In: a recipe. Out: a number. Pure."""

from __future__ import annotations

from recipec.recipe.schema import Recipe


def world_size(recipe: Recipe) -> int:
    """Processes of all machines: one for each GPU, or as many on CPUs as the recipe says."""
    return recipe.hardware.nodes * recipe.hardware.count
