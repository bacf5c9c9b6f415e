"""Names for the members of a matrix: the recipe's name and its values, `legal-lr1e-4-rank8`.

In: the recipe's name, the keys of the matrix, the combinations. Out: a name for each, all different
and within 63 characters. A value is spelled the same whatever other values stand beside it, unless
two would be spelled alike: a sweep that grows keeps the names it had. Pure.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, TypeGuard

LONGEST = 63
LONGEST_STEM = 48
"""A recipe's name is at most this long if it has a matrix: its members' names have to fit."""

_NAME = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_VALUE = 24


def is_name(value: object) -> TypeGuard[str]:
    """Whether something may be the name of a recipe."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def member_names(
    stem: str, keys: Sequence[str], combinations: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """A name for each combination, in their order."""
    spelled = {key: _spellings(key, [values[key] for values in combinations]) for key in keys}
    made: list[str] = []
    for number, values in enumerate(combinations):
        name = "-".join([stem, *(spelled[key][number] for key in keys)])
        if len(name) > LONGEST or name in made:
            name = f"{name[: LONGEST - 9].rstrip('-')}-{_digest(values)}"
        made.append(name)
    return tuple(made)


def _spellings(key: str, values: Sequence[Any]) -> list[str]:
    """A spelling for each value of an axis: the short one, unless two values share it."""
    short, long = ([_spelled(key, value, whole) for value in values] for whole in (False, True))
    alike = {
        spelling
        for spelling in short
        if len({_identity(v) for v, s in zip(values, short, strict=True) if s == spelling}) > 1
    }
    return [full if brief in alike else brief for brief, full in zip(short, long, strict=True)]


def _spelled(key: str, value: Any, whole: bool) -> str:
    word = _word(key)
    if isinstance(value, bool):
        text = word if value else f"no-{word}"
    elif isinstance(value, int | float):
        text = word + _number(value)
    elif isinstance(value, dict):
        text = "-".join(_spelled(f"{key}.{name}", item, whole) for name, item in value.items())
    elif isinstance(value, list):
        text = "-".join(_spelled("", item, whole) for item in value)
    else:
        text = _text(str(value), whole)
    text = text.strip("-")
    if not text or len(text) > _LONGEST_VALUE:
        text = f"{text[: _LONGEST_VALUE - 9]}-{_digest(value)}".lstrip("-")
    return text


def _word(key: str) -> str:
    """How a key is spelled before its value: `rank`, but `lr` for learning_rate."""
    words = [_text(word, True) for word in re.split("[_ -]", key.rpartition(".")[2])]
    return words[0] if len(words) == 1 else "".join(word[:1] for word in words)


def _number(value: float) -> str:
    """A number without a point: 8, 1e-4, 25e-5 for 0.00025, m1 for -1."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    assert isinstance(exponent, int), "a recipe's numbers are finite"
    if exponent >= 0 and len(text) + exponent <= 6:
        text += "0" * exponent
    elif exponent:
        text += f"e{exponent}"
    return f"m{text}" if sign else text


def _text(text: str, whole: bool) -> str:
    """Text in lower-case letters, digits and hyphens; of a path only its last part."""
    if not whole:
        text = PurePosixPath(text.partition("@")[0]).stem if "/" in text else text
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")


def _identity(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _digest(value: Any) -> str:
    """Eight hex digits that tell this value from others."""
    return hashlib.sha256(_identity(value).encode("ascii")).hexdigest()[:8]
