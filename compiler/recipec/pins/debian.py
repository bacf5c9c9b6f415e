"""From package names to .debs: read a Debian archive's signed index and choose the newest.

In: package names and the user's archives. Out: packages with where they lie. The chain of trust is
Debian's own: InRelease is signed, it holds the digest of Packages, and that the digest of each
.deb. No apt is needed and nothing on the host changes. A Release file's Valid-Until is not
enforced, so that a snapshot of an archive can be used; what was chosen is in the lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipec.errors import EnvironmentLacks
from recipec.pins.aptconf import Archive, DebSources, stanzas
from recipec.pins.debindex import FoundDeb, PackagesFile, found_deb
from recipec.pins.debversion import version_key
from recipec.pins.download import Downloader, Item
from recipec.pins.lockfile import Deb, Platform
from recipec.pins.signature import signed_text
from recipec.pins.transport import Gone, shown
from recipec.store import Store, canonical, sha256


@dataclass(frozen=True, kw_only=True)
class DebIndex:
    """What the archives have of the packages asked for, and what a user should know about it."""

    found: tuple[FoundDeb, ...]
    notices: tuple[str, ...]

    def newest(self, packages: Iterable[str]) -> tuple[FoundDeb, ...]:
        """The newest version of each package, sorted by name. Raises EnvironmentLacks."""
        return tuple(self._newest(package) for package in sorted(packages))

    def url_of(self, deb: Deb) -> str | None:
        """Where exactly this package lies, if an archive still lists it."""
        for candidate in self.found:
            if candidate.deb.sha256 == deb.sha256:
                return candidate.url
        return None

    def _newest(self, package: str) -> FoundDeb:
        candidates = [found for found in self.found if found.deb.package == package]
        if not candidates:
            raise EnvironmentLacks(
                f"the configured Debian archives have no package {package}",
                hint="check that the mirror carries the release and component main",
            )
        # `max` keeps the first of equals: the order of the configuration decides.
        return max(candidates, key=lambda found: version_key(found.deb.version))


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite of an archive: its InRelease file, whose signature holds, and what that says."""

    archive: Archive
    raw: bytes
    release: Mapping[str, str]


def open_suites(
    *, platform: Platform, sources: DebSources, downloader: Downloader
) -> tuple[tuple[Suite, ...], tuple[str, ...]]:
    """Every configured suite that is there, and what a user should know about them.

    Raises EnvironmentLacks (no mirror answers) and UntrustedIndex (a bad signature).
    """
    suites: list[Suite] = []
    notices: list[str] = []
    for archive in sources.archives:
        url = f"{archive.uri}/dists/{archive.suite}/InRelease"
        try:
            raw = downloader.document(url)
        except Gone:
            if not archive.optional:
                notices.append(f"{shown(archive.uri)} has no suite {archive.suite}: left out")
            continue
        text, notice = signed_text(raw, archive)
        if notice and notice not in notices:
            notices.append(notice)
        release = next(stanzas(text), {})
        if not archive.official or release.get("origin") == "Debian":
            suites.append(Suite(archive=archive, raw=raw, release=release))
    if not suites:
        raise EnvironmentLacks(
            f"no configured Debian mirror has the release {platform.debian}",
            hint="set RECIPEC_APT_MIRROR to the URL of a Debian mirror that has it, such as"
            " http://mirror.example/debian",
        )
    return tuple(suites), tuple(notices)


def read_archives(
    packages: Sequence[str],
    *,
    platform: Platform,
    sources: DebSources,
    downloader: Downloader,
    store: Store,
) -> DebIndex:
    """Ask every archive for these packages.

    Raises EnvironmentLacks (no mirror answers), UntrustedIndex (a bad signature) and HashMismatch.
    """
    suites, notices = open_suites(platform=platform, sources=sources, downloader=downloader)
    return read_suites(
        packages,
        suites,
        notices=notices,
        platform=platform,
        downloader=downloader,
        store=store,
    )


def read_suites(
    packages: Sequence[str],
    suites: Sequence[Suite],
    *,
    notices: tuple[str, ...] = (),
    platform: Platform,
    downloader: Downloader,
    store: Store,
) -> DebIndex:
    """Ask these suites for these packages; an answer is remembered until the suite changes."""
    wanted = tuple(sorted(set(packages)))
    found: list[FoundDeb] = []
    for suite in suites:
        key = _key(suite, platform, wanted)
        known = store.record("debian", key)
        if not isinstance(known, list):
            architectures = {platform.architecture, "all"}
            known = [
                _entry(stanza)
                for file in packages_files(suite, platform, downloader, store)
                for name in wanted
                for stanza in file.named(name, architectures)
            ]
            store.put_record("debian", key, known)
        found += [_found(entry, suite.archive) for entry in known]
    return DebIndex(found=tuple(found), notices=notices)


def packages_files(
    suite: Suite, platform: Platform, downloader: Downloader, store: Store
) -> list[PackagesFile]:
    """The Packages files of a suite, one for each component, as its InRelease file names them."""
    archive, release = suite.archive, suite.release
    files = []
    for component in archive.components:
        path, digest, size = _packages_file(release, component, platform, archive)
        base = f"{archive.uri}/dists/{archive.suite}"
        what = f"{archive.suite} {path.rpartition('/')[2]}"
        plain = Item(what=what, url=f"{base}/{path}", digest=digest, size=size)
        if release.get("acquire-by-hash", "").strip() == "yes":
            # By its hash an index stays whole while the mirror is being updated.
            folder = path.rpartition("/")[0]
            by_hash = f"{base}/{folder}/by-hash/SHA256/{digest.removeprefix('sha256:')}"
            try:
                downloader.fetch(Item(what=what, url=by_hash, digest=digest, size=size))
            except Gone:
                downloader.fetch(plain)
        else:
            downloader.fetch(plain)
        files.append(PackagesFile(archive=archive, data=_unpacked(store.read(digest), path)))
    return files


def _packages_file(
    release: Mapping[str, str], component: str, platform: Platform, archive: Archive
) -> tuple[str, str, int]:
    """Path, digest and size of the index of one component, in the best compression there is."""
    listed = {
        path: (f"sha256:{digest}", int(size))
        for digest, size, path in re.findall(
            r"^\s*([0-9a-f]{64})\s+(\d+)\s+(\S+)\s*$", release.get("sha256", ""), re.MULTILINE
        )
    }
    for suffix in (".xz", ".gz", ""):
        path = f"{component}/binary-{platform.architecture}/Packages{suffix}"
        if path in listed:
            return path, *listed[path]
    raise EnvironmentLacks(
        f"{shown(archive.uri)} has no packages for {platform.architecture} in {archive.suite}",
        hint="choose a mirror that carries the architecture",
    )


def _unpacked(data: bytes, path: str) -> bytes:
    if path.endswith(".xz"):
        import lzma

        return lzma.decompress(data)
    if path.endswith(".gz"):
        import gzip

        return gzip.decompress(data)
    return data


def _entry(stanza: Mapping[str, str]) -> dict[str, Any]:
    """What is remembered of a stanza."""
    return {
        "package": stanza["package"],
        "version": stanza["version"],
        "architecture": stanza["architecture"],
        "path": stanza["filename"],
        "sha256": "sha256:" + stanza["sha256"],
        "size": int(stanza["size"]),
    }


def _found(entry: Mapping[str, Any], archive: Archive) -> FoundDeb:
    """A remembered stanza as a value."""
    stanza = {name: str(value) for name, value in entry.items()}
    stanza["filename"] = stanza["path"]
    stanza["sha256"] = stanza["sha256"].removeprefix("sha256:")
    return found_deb(stanza, archive)


def _key(suite: Suite, platform: Platform, wanted: Sequence[str]) -> str:
    components = list(suite.archive.components)
    return sha256(canonical([sha256(suite.raw), components, platform.architecture, list(wanted)]))
