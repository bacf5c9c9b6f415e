"""Rules of `image`: Debian packages that are named in vain, or beside a base that has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from recipec.catalog.debian import release_of, set_packages
from recipec.recipe.bases import in_registry
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe


def _packages(recipe: Recipe) -> Iterator[Broken]:
    image = recipe.image
    if not image.packages or in_registry(image.base):
        return
    release = release_of(image.base)
    from_set = set_packages(release.name, image.package_set, jit=False)
    from_jit = set_packages(release.name, "minimal", jit=image.jit)
    seen: set[str] = set()
    for index, name in enumerate(image.packages):
        if name in seen:
            why = "is named twice"
        elif name in release.base:
            why = f"is in the base {image.base} already"
        elif name in from_set:
            why = f"is in the package set {image.package_set} already"
        elif name in from_jit:
            why = "is there already, because of `jit: true`"
        else:
            seen.add(name)
            continue
        yield Broken(
            path=("image", "packages", index),
            message=f"the Debian package {name} {why}",
            hint="remove it",
        )


def _ready_made(recipe: Recipe) -> Iterator[Broken]:
    """A base from a registry is taken as it is: nothing can be installed into it without running
    its own tools."""
    image = recipe.image
    if not in_registry(image.base):
        return
    asked = {
        "package_set": image.package_set != "minimal",
        "jit": image.jit,
        "packages": bool(image.packages),
    }
    for key in (key for key, given in asked.items() if given):
        yield Broken(
            path=("image", key),
            message=f"`image.{key}` asks for Debian packages, and the base is an image of a"
            " registry, which is taken as it is",
            hint="name a base that has what is needed, or take `base: debian-12` or `debian-13`",
        )


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_packages, _ready_made)
