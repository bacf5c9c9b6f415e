"""The JSON Schema (2020-12) of the recipe, made from the types in `schema.py`.

In: the types. Out: plain JSON. Two things are added to what msgspec derives: sections refuse
unknown keys, and an optional value may be left out but not be null, since an empty value in YAML
is nearly always a mistake.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

SCHEMA_ID = "https://recipec.dev/schema/recipe-v1.json"


@cache
def json_schema() -> dict[str, Any]:
    """The schema of a whole recipe, as the checker holds it."""
    import msgspec

    from recipec.recipe.schema import Recipe

    derived = msgspec.json.schema(Recipe)
    definitions = {name: _strict(entry) for name, entry in sorted(derived["$defs"].items())}
    root = definitions.pop("Recipe")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **root,
        "$defs": definitions,
    }


def json_schema_text() -> str:
    """The schema as docs/recipe.schema.json holds it, for editors: one file at a time.

    What must be there is asked of a recipe that stands alone only; one that extends another may
    leave it to its base, and is checked as a whole by the compiler.
    """
    schema = json_schema()
    alone = _needs(schema)
    definitions = {
        name: {key: value for key, value in entry.items() if key != "required"}
        for name, entry in schema["$defs"].items()
    }
    rest = {key: value for key, value in schema.items() if key not in {"required", "$defs"}}
    condition = {"if": {"required": ["extends"]}, "then": {"required": ["name"]}, "else": alone}
    plain = {**rest, **condition, "$defs": definitions}
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def _needs(entry: dict[str, Any]) -> dict[str, Any]:
    """Only the keys that a section must have, and those that its sections must have."""
    inner = {
        name: needs
        for name, child in entry.get("properties", {}).items()
        if (needs := _needs(resolved(child)))
    }
    needed = {"required": entry["required"]} if entry.get("required") else {}
    return {**needed, **({"properties": inner} if inner else {})}


def resolved(entry: dict[str, Any]) -> dict[str, Any]:
    """A part of the schema, with the keys of the section that it refers to, if it does."""
    for part in (entry, *entry.get("allOf", ())):
        if "$ref" in part:
            return {**json_schema()["$defs"][part["$ref"].rsplit("/", 1)[1]], **entry}
    return entry


def _strict(entry: Any) -> Any:
    if isinstance(entry, list):
        return [_strict(item) for item in entry]
    if not isinstance(entry, dict):
        return entry
    made = {key: _strict(value) for key, value in entry.items()}
    choices = made.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [choice for choice in choices if choice != {"type": "null"}]
        del made["anyOf"]
        made.pop("default", None)
        made = {**made, **(rest[0] if len(rest) == 1 else {"anyOf": rest})}
    if "propertyNames" in made:
        # A mapping with known names is written as a section, so that editors complete the names.
        names, inner = made.pop("propertyNames")["enum"], made["additionalProperties"]
        made["properties"] = {
            name: {"description": f"The settings of {name}.", **inner} for name in names
        }
    if made.get("type") == "object" and "properties" in made:
        made["additionalProperties"] = False
    return made
