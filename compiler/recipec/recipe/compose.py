"""Pass: compose. A recipe and the bases that it extends in, one `Document` out.

Sections merge key by key; lists and single values of the extending recipe replace those of its
base, and so does a method or task of another type. Every value keeps the place, file and line,
where it really stands. Nothing is checked here but what cannot be put together: the composed recipe
is checked as a whole. It reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from recipec.errors import Diagnostic, RecipeError, visible
from recipec.recipe.document import Document, KeyPath, Place, dotted
from recipec.recipe.vocabulary import entry_at, is_mapping_or_not, path_of

MAX_CHAIN = 16
"""Files of one recipe: it, its base, the base's base and so on."""

EXTENDS: KeyPath = ("extends",)

DECIDED_BY_TYPE: tuple[KeyPath, ...] = (("task",), ("method",), ("architecture", "rope"))
"""Sections whose keys depend on their `type`: with another type nothing of the base's is kept."""

EITHER_OR = (
    ("training", "epochs", "steps"),
    ("training", "warmup_ratio", "warmup_steps"),
    ("domain", "corpus", "epochs", "steps"),
)
"""A section and two keys of it that say one thing: one of them takes the other's place too."""

FIXED = {
    "recipe": "the version of the language is that of the file",
    "name": "members are named after the recipe and their values",
    "extends": "write a recipe for each base",
    "matrix": "a matrix holds keys of the recipe",
}
"""Keys that no matrix varies, and why not."""


def extended(document: Document) -> str | None:
    """The path that a recipe extends, as it spells it. Raises RecipeError where it is no text."""
    base = _mapping(document.value).get("extends")
    if "extends" not in _mapping(document.value) or (isinstance(base, str) and base):
        return base
    message = "`extends` is empty" if base in (None, "") else "`extends` is not text"
    hint = "name one recipe by its path relative to this one, or remove the line"
    raise RecipeError([document.diagnostic(EXTENDS, message, hint)])


def compose(chain: Sequence[Document]) -> Document:
    """The recipe `chain[0]` over its base `chain[1]`, that over `chain[2]`, and so on.

    Raises RecipeError where they cannot be put together, naming both places.
    """
    for document in chain:
        refuse_set_twice(document)
    _refuse_shared_name(chain)
    made = _without(chain[-1], ("extends",) if len(chain) == 1 else ("extends", "name"))
    for document in reversed(chain[:-1]):
        dropped = ("extends",) if document is chain[0] else ("extends", "name")
        made = _over(made, _without(document, dropped))
    return made


def circle(chain: Sequence[Document]) -> RecipeError:
    """The error for a chain whose last recipe extends its first: every `extends` of it."""
    if len(chain) == 1:
        message = "a recipe cannot extend itself"
        return RecipeError([chain[0].diagnostic(EXTENDS, message, "name another recipe")])
    way = " -> ".join(document.file for document in (*chain, chain[0]))
    message = f"these recipes extend one another in a circle: {way}"
    hint = "put what they share into a base that extends none of them"
    return RecipeError([document.diagnostic(EXTENDS, message, hint) for document in chain])


def _refuse_shared_name(chain: Sequence[Document]) -> None:
    """A base's name is not taken over: two recipes would write one build folder."""
    if len(chain) == 1:
        return
    recipe = chain[0]
    named = [(base, _mapping(base.value).get("name")) for base in chain[1:]]
    name = _mapping(recipe.value).get("name")
    if "name" not in _mapping(recipe.value):
        message = "a recipe that extends another one needs a `name` of its own"
        hint = next(
            (
                f"its base is `{visible(str(of))}` ({base.spot(('name',))})"
                for base, of in named
                if of
            ),
            "",
        )
        raise RecipeError([recipe.diagnostic(EXTENDS, message, hint, key=True)])
    for base, of in named:
        if isinstance(name, str) and name == of:
            message = f"`{visible(name)}` is the name of the base too ({base.spot(('name',))})"
            hint = "give each recipe a name of its own: it names the build folder and DVC stages"
            raise RecipeError([recipe.diagnostic(("name",), message, hint)])


def refuse_set_twice(document: Document) -> None:
    """What a recipe's matrix varies and the recipe itself sets as well. Raises RecipeError."""
    wrong: list[Diagnostic] = []
    axes = axes_of(document)
    for key, path in axes.items():
        at: KeyPath = ("matrix", key)
        taken = _set_at(document.value, path)
        if taken is not None:
            where = document.spot(taken, key=True)
            also = "" if taken == path else f" by `{dotted(taken)}`"
            message = f"`{key}` is in the matrix, and is set{also} as well ({where})"
            hint = "keep one of them"
            wrong.append(document.diagnostic(at, message, hint, key=True))
        for other, way in axes.items():
            if way != path and way == path[: len(way)]:
                where = document.spot(("matrix", other), key=True)
                message = f"`{key}` is in the matrix, and so is all of `{other}` ({where})"
                hint = f"put it into the values of `{other}`"
                wrong.append(document.diagnostic(at, message, hint, key=True))
    if wrong:
        raise RecipeError(wrong)


def axes_of(document: Document) -> dict[str, KeyPath]:
    """The keys of a recipe's matrix that the language knows, with the paths that they mean."""
    matrix = _mapping(_mapping(document.value).get("matrix"))
    found = {key: path_of(key) for key in matrix if key not in FIXED}
    return {key: path for key, path in found.items() if path is not None}


def _set_at(value: object, path: KeyPath) -> KeyPath | None:
    """The path at which a recipe sets what `path` means, or what stands in its way."""
    for depth, part in enumerate(path):
        if not isinstance(value, dict):
            return path[:depth]
        if part not in value:
            return None
        value = value[part]
    return path


def _over(base: Document, top: Document) -> Document:
    """Two recipes as one; the values of `top` take precedence."""
    base = _without_axes(base, list(_settled(base, top)))
    for path in axes_of(top).values():
        if (other := _other(path)) is not None:
            base = _without_value(base, other)
    joint = _Joint(base=base, top=top)
    value = joint.join((), base.value, top.value)
    if joint.wrong:
        raise RecipeError(joint.wrong)
    return Document(
        file=top.file,
        lines=top.lines,
        value=value,
        keys=joint.keys,
        values=joint.values,
        others={**base.others, **top.others, base.file: base.lines},
    )


def _settled(base: Document, top: Document) -> Iterator[str]:
    """Keys of the base's matrix that the extending recipe sets, and so takes out of it."""
    above = axes_of(top)
    wrong: list[Diagnostic] = []
    for key, path in axes_of(base).items():
        taken = _set_at(top.value, path)
        inner = next((k for k, p in above.items() if p != path and p[: len(path)] == path), None)
        if taken == path and isinstance(_value_at(top.value, path), dict):
            wrong.append(_inside(base, top, key, path))
        elif inner is not None:
            wrong.append(_inside(base, top, key, ("matrix", inner)))
        elif taken == path or _taken_over(path, top, list(above.values())):
            yield key
    if wrong:
        raise RecipeError(wrong)


def _taken_over(path: KeyPath, top: Document, above: Sequence[KeyPath]) -> bool:
    """Whether the extending recipe varies a section around a path, or has the other of two keys."""
    other = _other(path)
    around = any(axis != path and axis == path[: len(axis)] for axis in above)
    return around or (other is not None and (_set_at(top.value, other) == other or other in above))


def _inside(base: Document, top: Document, key: str, path: KeyPath) -> Diagnostic:
    where = base.spot(("matrix", key), key=True)
    message = f"the matrix of the base varies all of `{key}` ({where}), and this sets a part of it"
    hint = f"set `{key}` in the matrix of this recipe: it takes the place of the base's"
    return top.diagnostic(path, message, hint, key=True)


def _value_at(value: Any, path: KeyPath) -> Any:
    for part in path:
        value = value[part]
    return value


def _without_axes(document: Document, keys: Sequence[str]) -> Document:
    if not keys:
        return document
    value = _mapping(document.value)
    matrix = {key: item for key, item in value["matrix"].items() if key not in keys}
    return replace(document, value={**value, "matrix": matrix})


def _without(document: Document, keys: Sequence[str]) -> Document:
    value = {k: v for k, v in _mapping(document.value).items() if k not in keys}
    return replace(document, value=value)


@dataclass(kw_only=True)
class _Joint:
    """Two recipes that are being put together, and where each value of the result stands."""

    base: Document
    top: Document
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    wrong: list[Diagnostic] = field(default_factory=list)

    def join(self, path: KeyPath, below: Any, above: Any) -> Any:
        """The values of both at a path that both have."""
        if isinstance(below, dict) and isinstance(above, dict):
            self._place(self.top, path)
            below = _kept(path, below, above)
            made = {}
            for key in (*below, *(key for key in above if key not in below)):
                inner = (*path, key)
                if key not in above:
                    made[key] = self._take(self.base, inner, below[key])
                elif key not in below:
                    made[key] = self._take(self.top, inner, above[key])
                else:
                    made[key] = self.join(inner, below[key], above[key])
            return made
        parted = isinstance(below, dict) != isinstance(above, dict)
        if parted and None not in (below, above) and not is_mapping_or_not(path):
            self.wrong.append(self._conflict(path, below, above))
        return self._take(self.top, path, above)

    def _take(self, source: Document, path: KeyPath, value: Any) -> Any:
        """One recipe's value as it is, with its places."""
        self._place(source, path)
        inside: Iterable[tuple[str | int, Any]] = ()
        if isinstance(value, dict | list):
            inside = value.items() if isinstance(value, dict) else enumerate(value)
        for part, item in inside:
            self._take(source, (*path, part), item)
        return value

    def _place(self, source: Document, path: KeyPath) -> None:
        """Only the recipe that nothing extends keeps its places without a file's name."""
        for known, made in ((source.keys, self.keys), (source.values, self.values)):
            if path in known:
                place = known[path]
                own = source is self.top
                made[path] = place if place.file or own else replace(place, file=source.file)

    def _conflict(self, path: KeyPath, below: object, above: object) -> Diagnostic:
        name, where = dotted(path), self.base.spot(path, key=True)
        message = f"`{name}` is {_kind(above)} here and {_kind(below)} in the base ({where})"
        return self.top.diagnostic(path, message, "a section merges only with a section", key=True)


def _kept(path: KeyPath, below: Mapping[str, Any], above: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the base's section still says beside that of the extending recipe."""
    if path in DECIDED_BY_TYPE and "type" in above:
        was = below.get("type", _usual_type(path))
        if was is not None and above["type"] != was:
            return {}
    gone = {_other((*path, key)) for key in above}
    return {key: value for key, value in below.items() if (*path, key) not in gone}


def _usual_type(path: KeyPath) -> object:
    return (entry_at((*path, "type")) or {}).get("default")


def _other(path: KeyPath) -> KeyPath | None:
    """The key whose place is taken too when the one at `path` is set."""
    for *section, one, two in EITHER_OR:
        for key, other in ((one, two), (two, one)):
            if path == (*section, key):
                return (*section, other)
    return None


def _without_value(document: Document, path: KeyPath) -> Document:
    """The recipe without the value at a path, if it has one."""

    def cut(value: Any, rest: KeyPath) -> Any:
        if not isinstance(value, dict) or rest[0] not in value:
            return value
        if len(rest) == 1:
            return {key: item for key, item in value.items() if key != rest[0]}
        return {**value, rest[0]: cut(value[rest[0]], rest[1:])}

    return replace(document, value=cut(document.value, path))


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a section"
    return "a list" if isinstance(value, list) else "a single value"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
