"""Rules of `architecture`, `hardware` and `image`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe


def _dates(recipe: Recipe) -> Iterator[Broken]:
    given = recipe.image.exclude_newer
    if given is None:
        return
    try:
        datetime.fromisoformat(given)
    except ValueError:
        yield Broken(
            path=("image", "exclude_newer"),
            message=f"{given} is not a date that exists",
            hint="write a date such as 2026-11-01, or a time such as 2026-11-01T12:00:00Z",
        )


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = ()
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_dates,)
