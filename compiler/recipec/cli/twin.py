"""`recipec build --dockerfile`: the context of the image's twin, beside the build's other files."""

from __future__ import annotations

from pathlib import Path

from recipec.cli.state import Built
from recipec.errors import EnvironmentLacks, UsageError
from recipec.filelocks import hold, use_of
from recipec.progress import Progress
from recipec.store import Store, sha256

FOLDER = "docker"
"""Below build/NAME/."""


def write_dockerfile(built: Built, *, wheels: bool, store: Store, progress: Progress) -> Path:
    """Write build/NAME/docker/ anew; its path. Of two at a time, the second waits.

    Raises UsageError for an image that begins with one of a registry, EnvironmentLacks when a blob
    or pip's wheel cannot be had, or the disk refuses.
    """
    from recipec.catalog.stack import installer
    from recipec.cli.compile import read_lock
    from recipec.image.twin import write_twin
    from recipec.pins.installer import fetch_installer

    project, folder = built.project, built.folder / FOLDER
    lock = read_lock(project)
    if lock is None:
        raise EnvironmentLacks(
            f"{project.shown(project.lock)} is gone", hint="run `recipec build` again"
        )
    if lock.base is not None:
        raise UsageError(
            f"--dockerfile writes images of Debian packages, and {built.name} begins with"
            f" {lock.base.repository}, whose files it does not know",
            hint="take `base: debian-12`, or push our own image: it needs no builder",
        )
    own = store.root / "locks" / f"{sha256(str(folder).encode())[7:31]}.lock"
    with hold(use_of(store), shared=True), hold(own):
        pip = fetch_installer(
            installer(),
            platform=lock.platform,
            project=project.root,
            store=store,
            progress=progress,
        )
        write_twin(built.image, lock, store, folder, name=built.name, pip=pip, wheels=wheels)
    return folder
