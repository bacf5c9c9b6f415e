"""What the image is made of: the base, its Python, the package sets. Reasons for the plan.

In: a recipe. Out: decisions in the ledger. Which packages that means is the catalog's.
"""

from __future__ import annotations

from recipec.catalog.debian import release_of
from recipec.plan.ledger import Ledger
from recipec.recipe.schema import Recipe


def plan_image(recipe: Recipe, ledger: Ledger) -> None:
    """Note what `image` says and leaves open."""
    image = recipe.image
    ledger.keep("image", image, "base", "small, and its CPython runs every wheel we pin")
    ledger.note("image.python", release_of(image.base).python, f"the CPython of {image.base}")
    ledger.keep("image", image, "package_set", "training calls no shell and no other program")
    ledger.keep("image", image, "jit", "nothing here compiles while it trains")
    if image.packages:
        ledger.keep("image", image, "packages", "")
