"""What an engine is asked to run: an image, a command, an environment, and folders of the host.

Inert values; nothing here touches the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recipec.image.image import Image


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A folder of the host at an absolute path of the container."""

    host: Path
    container: str
    read_only: bool


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of an image.

    `command` follows the image's entrypoint. `environment` is added to the image's own; no other
    variable of the host reaches the process. `gpus` is how many NVIDIA GPUs it gets. `host_root` is
    a folder with recipe/, model/ and data/ for the host engine, which has no image to take them
    from; the others ignore it.
    """

    image: Image
    reference: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...]
    gpus: int = 0
    host_root: Path | None = None

    @property
    def writable(self) -> tuple[Mount, ...]:
        """The mounts that the process may write to."""
        return tuple(mount for mount in self.mounts if not mount.read_only)
