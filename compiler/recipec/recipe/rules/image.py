"""Rules of `image`: Debian packages that are named in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from recipec.catalog.debian import release_of, set_packages
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe


def _packages(recipe: Recipe) -> Iterator[Broken]:
    image = recipe.image
    if not image.packages:
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


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_packages,)
