"""The Packages files of Debian archives, searched without parsing their tens of thousands.

In: a Packages file's bytes and the archive it is of. Out: packages with where they lie and how they
relate to others. It reads neither disk nor network.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from recipec.pins.aptconf import Archive, stanzas
from recipec.pins.debrelations import Group, Relation, groups, relations
from recipec.pins.debversion import version_key
from recipec.pins.lockfile import Deb

_PRIORITIES = ("required", "important", "standard", "optional", "extra")


@dataclass(frozen=True, kw_only=True)
class FoundDeb:
    """A package of an archive, as the lock names it, and its URL."""

    deb: Deb
    url: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A package that could be in an image, and how it relates to others."""

    found: FoundDeb
    depends: tuple[Group, ...]
    provides: tuple[Relation, ...]
    excludes: tuple[Relation, ...]
    """What it conflicts with or breaks."""
    priority: int
    """0 for `required` to 4 for `extra`."""

    @property
    def name(self) -> str:
        """The package's name."""
        return self.found.deb.package

    def satisfies(self, relation: Relation) -> bool:
        """Whether it is, or provides, what the relation means.

        What is provided without a version satisfies no relation that names one.
        """
        if relation.name == self.name:
            return relation.fits(self.found.deb.version)
        return any(
            offered.name == relation.name
            and (
                not relation.operator or (bool(offered.version) and relation.fits(offered.version))
            )
            for offered in self.provides
        )


@dataclass(frozen=True, kw_only=True)
class PackagesFile:
    """One Packages file, unpacked."""

    archive: Archive
    data: bytes

    def named(self, name: str, architectures: Collection[str]) -> Iterator[Mapping[str, str]]:
        """The stanzas of the package of that name."""
        for start in self._starts.get(name, ()):
            stanza = self._stanza(start)
            if stanza["architecture"] in architectures:
                yield stanza

    def providing(self, name: str) -> Iterator[str]:
        """The names of packages whose Provides field names this one."""
        for position in self._provided.get(name, ()):
            begin = self.data.rfind(b"\n\n", 0, position)
            yield self._stanza(begin + 2 if begin >= 0 else 0)["package"]

    @property
    def names(self) -> Collection[str]:
        """Every package's name."""
        return self._starts.keys()

    @cached_property
    def _starts(self) -> dict[str, list[int]]:
        """Where the stanzas of each package begin."""
        starts: dict[str, list[int]] = {}
        for found in re.finditer(rb"^Package: (\S+)$", self.data, re.MULTILINE):
            starts.setdefault(found[1].decode("ascii", "replace"), []).append(found.start())
        return starts

    @cached_property
    def _provided(self) -> dict[str, list[int]]:
        """Where the Provides fields that name each package are."""
        places: dict[str, list[int]] = {}
        for found in re.finditer(rb"^Provides: (.*)$", self.data, re.MULTILINE):
            for relation in relations(found[1].decode("utf-8", "replace")):
                places.setdefault(relation.name, []).append(found.start())
        return places

    def _stanza(self, start: int) -> dict[str, str]:
        end = self.data.find(b"\n\n", start)
        block = self.data[start : end if end >= 0 else len(self.data)]
        return next(stanzas(block.decode("utf-8")))


class Universe:
    """Every package that the archives have; of those in `keep`, digests of pins, the pinned one."""

    def __init__(
        self, files: Sequence[PackagesFile], architecture: str, keep: Collection[str] = ()
    ) -> None:
        self._files = files
        self._architectures = {architecture, "all"}
        self._keep = frozenset(keep)
        self._known: dict[str, Candidate | None] = {}

    def named(self, name: str) -> Candidate | None:
        """The pinned or else the newest package of that name."""
        if name not in self._known:
            self._known[name] = self._choose(name)
        return self._known[name]

    def providing(self, name: str) -> list[Candidate]:
        """Packages that provide a virtual one: the more usual first, then by name."""
        names = sorted({found for file in self._files for found in file.providing(name)})
        candidates = [c for c in map(self.named, names) if c is not None]
        return sorted(candidates, key=lambda candidate: (candidate.priority, candidate.name))

    def near(self, name: str) -> str:
        """The package's name that is most like this one; empty if none is."""
        # Names of other lengths cannot be near, and there are tens of thousands.
        names = sorted(
            {n for file in self._files for n in file.names if abs(len(n) - len(name)) <= 3}
        )
        likely = [n for n in names if n[:1] == name[:1]]
        close = difflib.get_close_matches(name, likely or names, n=1, cutoff=0.75)
        return close[0] if close else ""

    def _choose(self, name: str) -> Candidate | None:
        there = [
            candidate(stanza, file.archive)
            for file in self._files
            for stanza in file.named(name, self._architectures)
        ]
        kept = [one for one in there if one.found.deb.sha256 in self._keep]
        # `max` keeps the first of equals: the order of the configuration decides.
        return max(kept or there, key=lambda one: version_key(one.found.deb.version), default=None)


def candidate(stanza: Mapping[str, str], archive: Archive) -> Candidate:
    """A stanza of a Packages file as a value."""
    priority = stanza.get("priority", "optional")
    return Candidate(
        found=found_deb(stanza, archive),
        depends=groups(f"{stanza.get('pre-depends', '')}, {stanza.get('depends', '')}"),
        provides=relations(stanza.get("provides", "")),
        excludes=relations(f"{stanza.get('conflicts', '')}, {stanza.get('breaks', '')}"),
        priority=_PRIORITIES.index(priority) if priority in _PRIORITIES else len(_PRIORITIES),
    )


def found_deb(stanza: Mapping[str, str], archive: Archive) -> FoundDeb:
    """Where a stanza's package lies, and its entry for the lock."""
    path = stanza["filename"]
    deb = Deb(
        package=stanza["package"],
        version=stanza["version"],
        architecture=stanza["architecture"],
        file=path.rpartition("/")[2],
        sha256="sha256:" + stanza["sha256"],
        size=int(stanza["size"]),
    )
    return FoundDeb(deb=deb, url=f"{archive.uri}/{quote(path, safe='/+~:')}")
