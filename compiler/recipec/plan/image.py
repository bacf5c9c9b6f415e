"""What the image is made of: the base, its Python, the package sets. Reasons for the plan.

In: a recipe and its lock. Out: decisions in the ledger. Which packages that means is the catalog's;
what a base from a registry holds is the lock's.
"""

from __future__ import annotations

from recipec.catalog.debian import release_of
from recipec.pins.lockfile import Lock
from recipec.plan.ledger import Ledger
from recipec.recipe.bases import in_registry
from recipec.recipe.schema import Recipe


def plan_image(recipe: Recipe, lock: Lock, ledger: Ledger) -> None:
    """Note what `image` says and leaves open."""
    image = recipe.image
    if in_registry(image.base):
        ledger.keep("image", image, "base", "")
        found = lock.base
        reason = f"{found.interpreter}, glibc {found.glibc}" if found else "`recipec lock` finds it"
        ledger.note("image.python", found.python if found else "as in the base", reason)
        return
    ledger.keep("image", image, "base", "small, and its CPython runs every wheel we pin")
    ledger.note("image.python", release_of(image.base).python, f"the CPython of {image.base}")
    ledger.keep("image", image, "package_set", "training calls no shell and no other program")
    ledger.keep("image", image, "jit", "nothing here compiles while it trains")
    if image.packages:
        ledger.keep("image", image, "packages", "")
