"""From the packages that a recipe asks for to all that must be there with them.

In: an index of packages, the base, what is asked for beyond it. Out: one version of each, sorted by
name. The base is taken as it stands; every other package brings what it depends on. As apt does, it
takes the newest of each, tries alternatives from the left, and never goes back on a choice. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from recipec.errors import EnvironmentLacks, NoSuchPackage
from recipec.pins.debindex import Candidate, FoundDeb, Universe
from recipec.pins.debrelations import Group


class Unmet(EnvironmentLacks):
    """A package needs one that is not there in the right version, or two exclude each other."""


def resolve(
    universe: Universe, *, base: Iterable[str], extra: Iterable[str], without: Collection[str]
) -> tuple[FoundDeb, ...]:
    """The base, the extra packages and all that these depend on, but for names in `without`.

    Raises NoSuchPackage and Unmet.
    """
    resolution = _Resolution(universe, frozenset(without))
    for name in sorted(set(base)):
        resolution.add(_asked(universe, name), follow=False)
    for name in sorted(set(extra)):
        resolution.add(_asked(universe, name))
    resolution.close()
    resolution.refuse_exclusions()
    chosen = resolution.chosen
    return tuple(chosen[name].found for name in sorted(chosen))


class _Resolution:
    """What was chosen so far, and what is still to be satisfied."""

    def __init__(self, universe: Universe, without: frozenset[str]) -> None:
        self._universe = universe
        self._without = without
        self._open: list[tuple[str, Group]] = []
        self.chosen: dict[str, Candidate] = {}

    def add(self, candidate: Candidate, *, follow: bool = True) -> None:
        if candidate.name in self.chosen:
            return
        self.chosen[candidate.name] = candidate
        if follow:
            self._open += [(candidate.name, group) for group in candidate.depends]

    def close(self) -> None:
        """Choose until nothing is open."""
        while self._open:
            self._open = [entry for entry in self._open if not self._satisfied(entry[1])]
            if not self._open:
                return
            # Where there is no choice first: it may settle where there is one.
            entry = next((e for e in self._open if len(e[1]) == 1), self._open[0])
            self.add(self._pick(*entry))

    def refuse_exclusions(self) -> None:
        """Raises Unmet if a chosen package conflicts with another or breaks it."""
        for name, candidate in sorted(self.chosen.items()):
            for relation in candidate.excludes:
                for other in sorted(self.chosen):
                    if other != name and self.chosen[other].satisfies(relation):
                        raise Unmet(
                            f"the Debian packages {name} and {other} exclude each other:"
                            f" {name} does not go with {relation}",
                            hint="ask for one of them in `image.packages`",
                        )

    def _satisfied(self, group: Group) -> bool:
        return any(
            relation.name in self._without
            or any(candidate.satisfies(relation) for candidate in self.chosen.values())
            for relation in group
        )

    def _pick(self, owner: str, group: Group) -> Candidate:
        for relation in group:
            named = self._universe.named(relation.name)
            if named is not None and named.satisfies(relation) and named.name not in self.chosen:
                return named
            for provider in self._universe.providing(relation.name):
                if provider.satisfies(relation) and provider.name not in self.chosen:
                    return provider
        wanted = " | ".join(str(relation) for relation in group)
        raise Unmet(
            f"the Debian package {owner} needs {wanted}, which the configured archives do not have",
            hint="only the component main is read; check that the mirror is whole, and that its"
            " updates and security suites are configured together",
        )


def _asked(universe: Universe, name: str) -> Candidate:
    found = universe.named(name)
    if found is not None:
        return found
    providers = [candidate.name for candidate in universe.providing(name)]
    near = universe.near(name)
    if providers:
        hint = f"{name} is another word for one of: {', '.join(providers[:8])}"
    elif near:
        hint = f"did you mean {near}?"
    else:
        hint = "check that the mirror carries the release and component main"
    raise NoSuchPackage(name, hint=hint)
