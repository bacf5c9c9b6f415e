"""Names of images in registries.

In: the text that a user types. Out: a `Target` to push to, or a `Source` to pull from; `Reference`
is what a push leaves. Nothing here touches the network, and no registry is assumed: the name must
say one. Names that are the same for a registry (docker.io/x, index.docker.io/library/x) become one.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from recipec.catalog.registries import quirks_of
from recipec.errors import UsageError
from recipec.store import DIGEST

# The distribution specification's grammar of names and tags (section "Pulling manifests").
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{1,5})?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to push: registry host with port if any, repository, tag."""

    registry: str
    repository: str
    tag: str


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A pushed image: its registry, repository, and the digest of the manifest there."""

    registry: str
    repository: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """What to pull: by digest if there is one, by tag otherwise."""

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def wanted(self) -> str:
        """What the registry is asked for: the digest or the tag."""
        return self.digest or self.tag

    @property
    def place(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        return f"{self.place}@{self.digest}" if self.digest else f"{self.place}:{self.tag}"


def parse(text: str) -> Target:
    """`registry.example/team/name[:tag]` as a target; the tag is `latest` if none is given.

    Raises UsageError with the way out.
    """
    registry, repository, tag, digest = _parts(text)
    if digest is not None:
        raise UsageError(
            f"{text!r} has a digest, which follows from the image and cannot be chosen",
            hint=f"push to {text.partition('@')[0]}",
        )
    return Target(registry=registry, repository=repository, tag="latest" if tag is None else tag)


def parse_source(text: str) -> Source:
    """`registry.example/team/name[:tag][@sha256:...]` as what to pull; by default `latest`.

    Raises UsageError with the way out.
    """
    registry, repository, tag, digest = _parts(text)
    if digest is not None and not DIGEST.fullmatch(digest):
        raise UsageError(
            f"{digest!r} is no digest that can be checked", hint="sha256: and 64 hex digits"
        )
    return Source(
        registry=registry,
        repository=repository,
        tag=tag or ("" if digest else "latest"),
        digest=digest or "",
    )


def _parts(text: str) -> tuple[str, str, str | None, str | None]:
    """Registry, repository, and tag and digest if there are any; the registry's own spelling."""
    host, _, rest = text.partition("/")
    if not rest or not ("." in host or ":" in host or host == "localhost"):
        raise UsageError(
            f"{text!r} names no registry", hint="write it in full: registry.example/team/name:tag"
        )
    rest, at, digest = rest.partition("@")
    repository, colon, tag = rest.partition(":")
    if not _REGISTRY.fullmatch(host):
        raise UsageError(f"{host!r} is no registry name", hint="a host, or a host and a port")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > 255:
        raise UsageError(
            f"{repository!r} is no repository name",
            hint="small letters and digits, parted by . _ - and /, such as team/legal-t5",
        )
    quirks = quirks_of(host)
    if quirks.namespace and "/" not in repository:
        repository = f"{quirks.namespace}/{repository}"
    return (
        quirks.name or host,
        repository,
        check_tag(tag) if colon else None,
        digest if at else None,
    )


def check_tag(tag: str) -> str:
    """The tag itself. Raises UsageError if registries would refuse it."""
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f"{tag!r} is no tag", hint="up to 128 letters, digits, . _ -, not starting with . or -"
        )
    return tag


def is_loopback(registry: str) -> bool:
    """Whether the registry is this machine, where plain HTTP leaks nothing."""
    host = registry.rpartition(":")[0] if re.search(r":\d+$", registry) else registry
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
