"""Which columns of a data row a recipe reads, and what part each plays.

In: a recipe. Out: parts and columns. It reads no file.
"""

from __future__ import annotations

from recipec.catalog import support
from recipec.recipe.schema import Recipe


def columns_of(recipe: Recipe) -> dict[str, str]:
    """Column by part, such as `{"source": "clause", "target": "summary"}`.

    Of a task's forms the one is taken that the recipe names parts of, else the first. A part that
    the recipe does not name has a column of its own name; an optional part must be named.
    """
    facts = support.tasks()[recipe.task.type]
    given = {name: getattr(recipe.task.fields, name) for name in facts.fields}
    named = {name for name, column in given.items() if column is not None}
    form = next((form for form in facts.forms if named & set(form)), facts.forms[0])
    optional = [name for name in facts.optional if name in named]
    return {name: given[name] or name for name in (*form, *optional)}
