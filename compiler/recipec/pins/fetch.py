"""Every byte of a lock, made local.

In: pinned wheels and packages, or requirements to pin. Out: complete blobs in the store, and what
upstream no longer has. Nothing heavy is imported and no network is asked while the store has all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from recipec.errors import EnvironmentLacks, HashMismatch, RecipeError
from recipec.pins.lockfile import DataFile, Deb, Lock, Model, Platform, Wheel
from recipec.pins.models import place_in_project
from recipec.progress import Progress
from recipec.store import Store

if TYPE_CHECKING:
    from recipec.pins.debian import DebIndex, Suite
    from recipec.pins.debindex import FoundDeb
    from recipec.pins.download import Downloader, Item
    from recipec.pins.sources import WheelSources
    from recipec.pins.wheels import FoundWheel, Resolver


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Pins that upstream no longer has and the store does not either."""

    wheels: tuple[Wheel, ...] = ()
    debs: tuple[Deb, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.wheels or self.debs)

    def names(self) -> tuple[str, ...]:
        """Each as `name version`, sorted."""
        return tuple(
            sorted(
                [f"{wheel.name} {wheel.version}" for wheel in self.wheels]
                + [f"{deb.package} {deb.version}" for deb in self.debs]
            )
        )


@dataclass(kw_only=True)
class Upstream:
    """Where pins and their bytes come from, set up once and only if it is needed."""

    store: Store
    project: Path
    platform: Platform
    exclude_newer: str | None
    packages: tuple[str, ...]
    """Debian packages to take as they stand."""
    extra: tuple[str, ...] = ()
    """Debian packages whose dependencies come along."""
    progress: Progress
    jobs: int
    notices: list[str] = field(default_factory=list)
    """What a user should know of what was met on the way."""

    @cached_property
    def wheel_sources(self) -> WheelSources:
        """The user's configuration of pip and uv."""
        from recipec.pins.sources import wheel_sources

        return wheel_sources()

    @cached_property
    def resolver(self) -> Resolver:
        """uv, set up for the target."""
        from recipec.pins.wheels import Resolver

        return Resolver(
            platform=self.platform,
            sources=self.wheel_sources,
            folder=self.project,
            exclude_newer=self.exclude_newer,
        )

    @cached_property
    def wheel_downloader(self) -> Downloader:
        """Downloads with pip's certificates, proxy and passwords."""
        from recipec.pins.download import Downloader

        access = self.wheel_sources.access
        return Downloader(self.store, access=access, progress=self.progress, jobs=self.jobs)

    @cached_property
    def _suites(self) -> tuple[tuple[Suite, ...], Downloader]:
        """The suites of the user's Debian mirrors, and how to download from them."""
        from recipec.pins.aptconf import deb_sources
        from recipec.pins.debian import open_suites
        from recipec.pins.download import Downloader

        sources = deb_sources(self.platform.debian)
        downloader = Downloader(
            self.store, access=sources.access, progress=self.progress, jobs=self.jobs
        )
        suites, notices = open_suites(
            platform=self.platform, sources=sources, downloader=downloader
        )
        self.notices += notices
        return suites, downloader

    def _index(self, packages: Sequence[str]) -> DebIndex:
        from recipec.pins.debian import read_suites

        suites, downloader = self._suites
        return read_suites(
            packages, suites, platform=self.platform, downloader=downloader, store=self.store
        )

    def newest_debs(self, packages: Iterable[str]) -> tuple[Deb, ...]:
        """The newest version of each package, fetched, sorted by name."""
        return self._fetched(self._index(self.packages).newest(packages))

    def resolved_debs(self, keep: Iterable[Deb] = ()) -> tuple[Deb, ...]:
        """The packages and the extra ones with all that these depend on, fetched, sorted by name.

        `keep` are pins to take again where the archives still have them and they fit. Raises
        NoSuchPackage and Unmet.
        """
        from recipec.catalog.debian import scripts_only
        from recipec.pins.debian import packages_files
        from recipec.pins.debindex import Universe
        from recipec.pins.debresolve import Unmet, resolve

        suites, downloader = self._suites
        files = [
            file
            for suite in suites
            for file in packages_files(suite, self.platform, downloader, self.store)
        ]
        pins = {deb.sha256 for deb in keep}

        def found(kept: Iterable[str]) -> tuple[FoundDeb, ...]:
            universe = Universe(files, self.platform.architecture, tuple(kept))
            return resolve(universe, base=self.packages, extra=self.extra, without=scripts_only())

        try:
            return self._fetched(found(pins))
        except Unmet:
            if not pins:
                raise
            return self._fetched(found(()))

    def _fetched(self, found: Sequence[FoundDeb]) -> tuple[Deb, ...]:
        from recipec.pins.download import remember_url

        _, downloader = self._suites
        for gone in downloader.fetch_all([_deb_item(deb) for deb in found]).gone:
            downloader.fetch(gone)  # listed and yet not there: says so
        for entry in found:
            remember_url(self.store, entry.deb.sha256, entry.url)
        return tuple(entry.deb for entry in found)

    def pin_wheels(
        self, requirements: Sequence[str], *, prefer: Sequence[Wheel] = (), no_deps: bool = False
    ) -> tuple[Wheel, ...]:
        """Resolve and fetch: one wheel per package, size and digest of the bytes that came."""
        from recipec.pins.download import remember_url

        found = self.resolver.resolve(requirements, prefer=prefer, no_deps=no_deps)
        items = [_wheel_item(wheel) for wheel in found]
        fetched = self.wheel_downloader.fetch_all(items)
        for gone in fetched.gone:
            self.wheel_downloader.fetch(gone)  # listed by the index and yet not there: says so
        wheels = []
        for wheel in found:
            digest = fetched.digests[wheel.url]
            remember_url(self.store, digest, wheel.url)
            size = self.store.path(digest).stat().st_size
            wheels.append(
                Wheel(
                    name=wheel.name,
                    version=wheel.version,
                    file=wheel.file,
                    sha256=digest,
                    size=size,
                )
            )
        return tuple(wheels)

    def fetch_pinned(self, wheels: Sequence[Wheel], debs: Sequence[Deb]) -> Dropped:
        """Bring exactly these into the store; what upstream has no longer is returned."""
        lacking = [wheel for wheel in wheels if not self.store.has(wheel.sha256)]
        missing = [deb for deb in debs if not self.store.has(deb.sha256)]
        return Dropped(
            wheels=self._fetch_wheels(lacking) if lacking else (),
            debs=self._fetch_debs(missing) if missing else (),
        )

    def _fetch_wheels(self, wheels: Sequence[Wheel]) -> tuple[Wheel, ...]:
        from recipec.pins.download import Item, known_url, remember_url

        def items(urls: Mapping[str, str], some: Sequence[Wheel]) -> list[Item]:
            return [
                Item(what=w.file, url=urls[w.sha256], digest=w.sha256, size=w.size)
                for w in some
                if w.sha256 in urls
            ]

        remembered = {
            wheel.sha256: url
            for wheel in wheels
            if (url := known_url(self.store, wheel.sha256)) is not None
        }
        self.wheel_downloader.fetch_all(items(remembered, wheels))
        left = [wheel for wheel in wheels if not self.store.has(wheel.sha256)]
        if left:
            urls = self.resolver.locate(left)
            self.wheel_downloader.fetch_all(items(urls, left))
            for digest, url in urls.items():
                remember_url(self.store, digest, url)
        return tuple(wheel for wheel in left if not self.store.has(wheel.sha256))

    def _fetch_debs(self, debs: Sequence[Deb]) -> tuple[Deb, ...]:
        """From the mirrors, else from the snapshot service if there is one; returns what is gone.

        All names are asked for, so that the answer is remembered whatever is missing.
        """
        from recipec.pins.snapshot import snapshot_mirror, snapshot_urls

        names = (*self.packages, *(deb.package for deb in debs))
        index = self._index(names)
        _, downloader = self._suites
        urls = {deb.sha256: url for deb in debs if (url := index.url_of(deb)) is not None}
        downloader.fetch_all([_item(deb, urls[deb.sha256]) for deb in debs if deb.sha256 in urls])
        gone = [deb for deb in debs if not self.store.has(deb.sha256)]
        service = snapshot_mirror()
        if gone and service:
            urls = snapshot_urls(gone, service, downloader)
            there = [deb for deb in gone if deb.sha256 in urls]
            downloader.fetch_all([_item(deb, urls[deb.sha256]) for deb in there])
            self.notices += [
                f"{deb.package} {deb.version} is gone from the mirrors: taken from the snapshot"
                " service"
                for deb in there
                if self.store.has(deb.sha256)
            ]
        return tuple(deb for deb in gone if not self.store.has(deb.sha256))


def project_files(
    model: Model, data: Sequence[DataFile], *, project: Path, store: Store
) -> dict[str, Path]:
    """Files of the lock that lie in the project, by digest.

    Raises RecipeError for a missing one, HashMismatch for one with other bytes, EnvironmentLacks
    for rows in normal form that no lock was made of here.
    """
    named = {source.path: source.sha256 for file in data for source in file.read_from}
    if model.source.startswith("path:"):
        named |= {place_in_project(model.source, file.path): file.sha256 for file in model.files}
    found: dict[str, Path] = {}
    for path, expected in named.items():
        try:
            digest = store.digest_of(project / path)
        except OSError as error:
            raise _missing(path) from error
        if digest != expected:
            raise HashMismatch(
                path,
                expected=expected,
                found=digest,
                hint="restore the file, or run `recipec lock` to pin what is there now",
            )
        found[expected] = project / path
    for file in data:
        if file.sources:
            found[file.sha256] = _normal(file, store)
    return found


def _normal(file: DataFile, store: Store) -> Path:
    if not store.has(file.sha256):
        raise EnvironmentLacks(
            f"the {file.split} rows in normal form are not in the store",
            hint="`recipec lock` writes them again from the project's files",
        )
    return store.path(file.sha256)


def package_paths(lock: Lock, store: Store) -> dict[str, Path]:
    """Blobs of the lock's wheels and debs, by digest."""
    digests = [wheel.sha256 for wheel in lock.wheels] + [deb.sha256 for deb in lock.debs]
    return {digest: store.path(digest) for digest in digests}


def _missing(path: str) -> RecipeError:
    from recipec.errors import Diagnostic

    hint = "restore it, or run `recipec lock` after changing the recipe"
    return RecipeError([Diagnostic(file=path, line=0, column=0, message="no such file", hint=hint)])


def _wheel_item(wheel: FoundWheel) -> Item:
    from recipec.pins.download import Item

    return Item(what=wheel.file, url=wheel.url, digest=wheel.sha256, size=wheel.size)


def _item(deb: Deb, url: str = "") -> Item:
    from recipec.pins.download import Item

    return Item(what=deb.file, url=url, digest=deb.sha256, size=deb.size)


def _deb_item(found: FoundDeb) -> Item:
    return _item(found.deb, found.url)
