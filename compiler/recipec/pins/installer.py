"""The wheel that a Dockerfile installs wheels with.

In: the catalogue's pin. Out: the same as a `Wheel` whose bytes are in the store, from the user's
own sources of wheels. No image and no lock of ours holds it.
"""

from __future__ import annotations

from pathlib import Path

from recipec.catalog.stack import Installer
from recipec.errors import EnvironmentLacks
from recipec.pins.fetch import Upstream
from recipec.pins.lockfile import Platform, Wheel
from recipec.progress import Progress
from recipec.store import Store


def fetch_installer(
    pinned: Installer, *, platform: Platform, project: Path, store: Store, progress: Progress
) -> Wheel:
    """Bring it into the store. Raises EnvironmentLacks when no source has it."""
    wheel = Wheel(
        name=pinned.name,
        version=pinned.version,
        file=pinned.file,
        sha256=pinned.sha256,
        size=pinned.size,
    )
    upstream = Upstream(
        store=store,
        project=project,
        platform=platform,
        exclude_newer=None,
        packages=(),
        progress=progress,
        jobs=1,
    )
    if upstream.fetch_pinned((wheel,), ()):
        raise EnvironmentLacks(
            f"no source of wheels has {wheel.file}, which --dockerfile puts into its folder",
            hint="add an index or a folder that has it to pip's or uv's configuration",
        )
    return wheel
