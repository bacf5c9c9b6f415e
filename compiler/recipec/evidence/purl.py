"""Package URLs, by which scanners know a package.

In: names and versions of a lock. Out: purl texts in their canonical form (package-url/purl-spec,
"Rules for each purl component" and the types pypi, deb, huggingface, oci).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from recipec.pins.lockfile import Deb, Model, Wheel

_DISTRO = {"bookworm": "debian-12", "trixie": "debian-13"}
"""How scanners write a Debian release."""


def of_wheel(wheel: Wheel) -> str:
    """`pkg:pypi/NAME@VERSION`."""
    return of_pypi(wheel.name, wheel.version)


def of_deb(deb: Deb, release: str, source: str = "") -> str:
    """`pkg:deb/debian/NAME@VERSION?arch=…&distro=…`; `source` is the source package if another.

    Advisories of Debian are about source packages.
    """
    about = {"arch": deb.architecture, "distro": _DISTRO.get(release, release)}
    if source and source != deb.package:
        about["upstream"] = source
    return _purl(f"deb/debian/{_part(deb.package)}", deb.version, about)


def of_model(model: Model) -> str | None:
    """The model's purl if it came from a hub or a wheel; None for a folder of the project."""
    scheme, _, place = model.source.partition(":")
    if scheme == "hub":
        name = place.partition("@")[0]
        return _purl(f"huggingface/{_part(name)}", model.commit or "", {})
    if scheme == "wheel":
        pinned, _, inner = place.partition("/")
        name, _, version = pinned.partition("==")
        return of_pypi(name, version) + (f"#{_part(inner)}" if inner else "")
    return None


def of_image(name: str, digest: str) -> str:
    """`pkg:oci/NAME@DIGEST`, without a registry: an image may lie in many."""
    return f"pkg:oci/{_part(name.lower())}@{_part(digest)}"


def of_pypi(name: str, version: str) -> str:
    """`pkg:pypi/NAME@VERSION` of a project by its name."""
    return _purl(f"pypi/{_part(re.sub('[-_.]+', '-', name).lower())}", version, {})


def _purl(path: str, version: str, about: Mapping[str, str]) -> str:
    at = f"@{_part(version)}" if version else ""
    pairs = "&".join(f"{key}={_part(value)}" for key, value in sorted(about.items()))
    return f"pkg:{path}{at}" + (f"?{pairs}" if pairs else "")


def _part(text: str) -> str:
    return quote(text, safe=":/")
