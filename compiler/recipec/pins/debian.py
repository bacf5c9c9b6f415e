"""From package names to .debs: read a Debian archive's signed index and choose the newest.

In: package names and the user's archives. Out: packages with where they lie. The chain of trust is
Debian's own: InRelease is signed, it holds the digest of Packages, and that the digest of each
.deb. No apt is needed, nothing on the host changes, and dependencies are not followed: the
catalogue names every package of the base. A Release file's Valid-Until is not enforced, so that a
snapshot of an archive can be used; what was chosen is in the lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from recipec.errors import EnvironmentLacks
from recipec.pins.aptconf import Archive, DebSources, stanzas
from recipec.pins.debversion import version_key
from recipec.pins.download import Downloader, Item
from recipec.pins.lockfile import Deb, Platform
from recipec.pins.signature import signed_text
from recipec.pins.transport import Gone, shown
from recipec.store import Store, canonical, sha256


@dataclass(frozen=True, kw_only=True)
class FoundDeb:
    """A package of an archive, as the lock names it, and its URL."""

    deb: Deb
    url: str


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
    wanted = tuple(sorted(set(packages)))
    found: list[FoundDeb] = []
    notices: list[str] = []
    answered = False
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
        if archive.official and release.get("origin") != "Debian":
            continue
        answered = True
        known = _known(store, raw, archive, platform, wanted)
        if known is None:
            known = _read_index(archive, release, wanted, platform, downloader, store)
            store.put_record("debian", _key(raw, archive, platform, wanted), known)
        found += [_found(entry, archive) for entry in known]
    if not answered:
        raise EnvironmentLacks(
            f"no configured Debian mirror has the release {platform.debian}",
            hint="set RECIPEC_APT_MIRROR to the URL of a Debian mirror that has it, such as"
            " http://mirror.example/debian",
        )
    return DebIndex(found=tuple(found), notices=tuple(notices))


def _read_index(
    archive: Archive,
    release: Mapping[str, str],
    wanted: Sequence[str],
    platform: Platform,
    downloader: Downloader,
    store: Store,
) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
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
        entries += _entries(_unpacked(store.read(digest), path), wanted, platform)
    return entries


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


def _entries(index: bytes, wanted: Sequence[str], platform: Platform) -> Iterator[dict[str, Any]]:
    """The stanzas of wanted packages, without parsing the other tens of thousands."""
    for name in wanted:
        start = -1
        line = f"Package: {name}\n".encode()
        while (start := index.find(line, start + 1)) >= 0:
            if start > 0 and index[start - 1 : start] != b"\n":
                continue
            end = index.find(b"\n\n", start)
            block = index[start : end if end >= 0 else len(index)].decode("utf-8")
            stanza = next(stanzas(block))
            if stanza["architecture"] in {platform.architecture, "all"}:
                yield {
                    "package": name,
                    "version": stanza["version"],
                    "architecture": stanza["architecture"],
                    "path": stanza["filename"],
                    "sha256": "sha256:" + stanza["sha256"],
                    "size": int(stanza["size"]),
                }


def _found(entry: Mapping[str, Any], archive: Archive) -> FoundDeb:
    path = str(entry["path"])
    deb = Deb(
        package=entry["package"],
        version=entry["version"],
        architecture=entry["architecture"],
        file=path.rpartition("/")[2],
        sha256=entry["sha256"],
        size=entry["size"],
    )
    return FoundDeb(deb=deb, url=f"{archive.uri}/{quote(path, safe='/+~:')}")


def _key(raw: bytes, archive: Archive, platform: Platform, wanted: Sequence[str]) -> str:
    parts = [sha256(raw), list(archive.components), platform.architecture, list(wanted)]
    return sha256(canonical(parts))


def _known(
    store: Store, raw: bytes, archive: Archive, platform: Platform, wanted: Sequence[str]
) -> list[dict[str, Any]] | None:
    known = store.record("debian", _key(raw, archive, platform, wanted))
    return known if isinstance(known, list) else None
