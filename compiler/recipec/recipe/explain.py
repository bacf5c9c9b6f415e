"""Why a document is no recipe: every mistake, in words, at its place.

In: a document that `recipec.recipe.convert` refused. Out: diagnostics, made from what jsonschema
finds by the schema. jsonschema costs more to import than all the rest of a check, so only a wrong
recipe pays for it.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator
from typing import Any

from recipec.errors import Diagnostic, visible
from recipec.recipe.document import Document, KeyPath, dotted
from recipec.recipe.json_schema import json_schema
from recipec.recipe.known_keys import hint_for

_TYPE_NAMES = {
    "object": "a section (a mapping)",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}

_CLASSES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}

_NUMERAL = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,60}")


def validator() -> Any:
    """A jsonschema validator of recipes, which agrees with `convert` on every value."""
    from jsonschema.validators import Draft202012Validator, extend

    # YAML's 3.0 is a float: JSON Schema would take it for an integer, Python's range() would not.
    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict: Any = extend(Draft202012Validator, type_checker=types)  # type: ignore[no-untyped-call]
    return strict(json_schema())


def explain(document: Document) -> Iterator[tuple[KeyPath | None, Diagnostic]]:
    """Each violation, with the path that must not reach the rules (None: only something lacks)."""
    missing_at: set[KeyPath] = set()
    wrong_type: set[KeyPath] = set()
    found = (_innermost(error) for error in validator().iter_errors(document.value))
    for error in itertools.chain.from_iterable(found):
        path: KeyPath = tuple(error.absolute_path)
        if path in wrong_type:
            continue  # that 3.0 is no whole number and below 5 is one mistake
        if error.validator == "type":
            wrong_type.add(path)
        if error.validator == "additionalProperties":
            yield from _unknown_keys(document, path, error.instance, error.schema)
        elif error.validator == "required":
            if path not in missing_at:
                missing_at.add(path)
                yield None, _missing(document, path, error.instance, error.schema)
        else:
            message, hint = _in_words(error, path)
            yield path, document.diagnostic(path, message, hint)


def _innermost(error: Any) -> Iterator[Any]:
    """An error; in place of a union's, those of its choice that takes values of this kind.

    A choice of words is no such choice: a word that is refused wants to hear of all the others.
    """
    if error.validator == "anyOf":
        for index, choice in enumerate(error.validator_value):
            if "enum" not in choice and _is_a(error.instance, _kind(choice)):
                for part in error.context:
                    if part.relative_schema_path[0] == index:
                        yield from _innermost(part)
                return
    yield error


def _kind(choice: Any) -> str:
    """The JSON type that a part of the schema takes; what refers to a section has none itself."""
    return str(choice.get("type", "object"))


def _is_a(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _CLASSES[kind])


def _unknown_keys(
    document: Document, path: KeyPath, instance: Any, schema: Any
) -> Iterator[tuple[KeyPath, Diagnostic]]:
    known = list(schema["properties"])
    for key in instance:
        if key in schema["properties"]:
            continue
        place = (*path, key)
        section = f"`{dotted(path)}`" if path else "a recipe"
        message = f"unknown key `{visible(key)}` in {section}"
        yield place, document.diagnostic(place, message, hint_for(key, known), key=True)


def _missing(document: Document, path: KeyPath, instance: Any, schema: Any) -> Diagnostic:
    absent = [key for key in schema["required"] if key not in instance]
    names = ", ".join(f"`{dotted((*path, key))}`" for key in absent)
    verb = "is" if len(absent) == 1 else "are"
    descriptions = [
        f"{key}: {text}"
        for key in absent
        if (text := schema["properties"].get(key, {}).get("description"))
    ]
    return document.diagnostic(
        path, f"{names} {verb} missing", " ".join(descriptions), key=bool(path)
    )


def _description(error: Any) -> str:
    """What the schema says of the value; a choice of a union is described where the union is."""
    described = error
    while described.parent is not None and "description" not in described.schema:
        described = described.parent
    return str(described.schema.get("description", ""))


def _in_words(error: Any, path: KeyPath) -> tuple[str, str]:
    """Message and hint for one violated keyword."""
    name = f"`{dotted(path)}`" if path else "a recipe"
    value, wanted, description = error.instance, error.validator_value, _description(error)
    match error.validator:
        case "type" | "enum" | "anyOf":
            return _not_one_of(name, value, _choices(error.schema), description)
        case "minimum":
            return f"{name} is {value}; it is at least {wanted}", description
        case "maximum":
            return f"{name} is {value}; it is at most {wanted}", description
        case "exclusiveMinimum":
            return f"{name} is {value}; it is above {wanted}", description
        case "exclusiveMaximum":
            return f"{name} is {value}; it is below {wanted}", description
        case "minLength" | "minItems":
            return f"{name} is empty", description
        case "pattern":
            return f"{name} is {_show(value)}, which is not of the right form", description
    return f"{name}: {error.message}", description


def _choices(schema: Any) -> tuple[list[str], list[str]]:
    """The words that a schema takes, and the names of the JSON types that it takes besides."""
    words: list[str] = []
    kinds: list[str] = []
    for choice in schema.get("anyOf", [schema]):
        words += [str(word) for word in choice.get("enum", ())]
        kinds += [] if "enum" in choice else [_kind(choice)]
    return words, kinds


def _not_one_of(
    name: str, value: object, choices: tuple[list[str], list[str]], description: str
) -> tuple[str, str]:
    """Message and hint for a value that is none of the words and of none of the types."""
    words, kinds = choices
    named = [_TYPE_NAMES[kind] for kind in kinds]
    if value is None:
        wanted = " or ".join([*(["text"] if words else []), *named])
        hint = "give it a value, or remove the line to take the default"
        return f"{name} is empty; it is {wanted}", hint
    if len(words) > 1 and not kinds:
        wanted = f"one of: {', '.join(words)}"
    else:
        wanted = " or ".join([*words, *named])
    return f"{name} is {_show(value)}; it is {wanted}", _way_out(value, words, kinds) or description


def _way_out(value: object, words: list[str], kinds: list[str]) -> str:
    """What to write instead, where that can be told from the value."""
    if len(words) > 1 or (words and kinds):
        by_folded = {word.lower(): word for word in words}
        near = difflib.get_close_matches(str(value).lower(), by_folded, n=1, cutoff=0.5)
        return f"did you mean `{by_folded[near[0]]}`?" if near else ""
    if kinds == ["array"] and isinstance(value, str) and _PLAIN.fullmatch(value):
        return f"put it in brackets to make it a list: [{value}]"
    if "string" in kinds and isinstance(value, bool | int | float):
        return "put it in quotes to make it text"
    number = "number" in kinds or "integer" in kinds
    if number and isinstance(value, str) and _NUMERAL.fullmatch(value):
        plain = value.replace("_", "")
        return f"write {plain}" if "_" in value else f"remove the quotes: {value}"
    if "integer" in kinds and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}" if abs(value) < 1e15 else ""
    return ""


def _show(value: object) -> str:
    if isinstance(value, dict):
        return "a section (a mapping)"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
