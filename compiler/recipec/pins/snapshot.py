"""Where a service that keeps every Debian package there ever was has those that mirrors dropped.

In: pinned packages and the service's URL (`RECIPEC_SNAPSHOT_MIRROR`). Out: a URL for each that the
service knows. The service is asked as snapshot.debian.org's machine-usable interface is (the files
of a package's version with their SHA-1); what comes is checked against the lock's SHA-256 as any
other download.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from recipec.errors import EnvironmentLacks
from recipec.pins.download import Downloader
from recipec.pins.lockfile import Deb
from recipec.pins.transport import Gone, shown, without_password


def snapshot_mirror(environ: Mapping[str, str] | None = None) -> str:
    """The configured service's URL without a slash at the end; empty if there is none."""
    environ = os.environ if environ is None else environ
    return environ.get("RECIPEC_SNAPSHOT_MIRROR", "").strip().rstrip("/")


def snapshot_urls(debs: Sequence[Deb], service: str, downloader: Downloader) -> dict[str, str]:
    """URLs by digest of the packages that the service has. Raises EnvironmentLacks."""
    found = {}
    for deb in debs:
        path = f"mr/binary/{quote(deb.package, safe='')}/{quote(deb.version, safe='')}/binfiles"
        url = f"{service}/{path}?fileinfo=1"
        try:
            answer = downloader.document(url)
        except Gone:
            continue
        sha1 = _file_of(deb, answer, url)
        if sha1:
            found[deb.sha256] = f"{without_password(service)}/file/{sha1}"
    return found


def _file_of(deb: Deb, answer: bytes, url: str) -> str:
    """The SHA-1 under which the service has this very file, judged by its name and size."""
    try:
        about = json.loads(answer)["fileinfo"]
        same = [
            sha1
            for sha1, places in about.items()
            if any((place["name"], place["size"]) == (deb.file, deb.size) for place in places)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnvironmentLacks(
            f"{shown(url)}: it does not answer as a snapshot service does",
            hint="correct RECIPEC_SNAPSHOT_MIRROR, or unset it",
        ) from error
    return min(same, default="")
