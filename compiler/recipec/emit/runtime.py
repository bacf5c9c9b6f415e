"""The runtime's own files, as they go into the image.

In: the device. Out: a `Bundle` of recipec_runtime/*.py, read from where the package lies. The
package is found, never imported: the compiler needs none of what it needs.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from recipec.emit.bundle import Bundle
from recipec.errors import EnvironmentLacks

PACKAGE = "recipec_runtime"
FOR_GPUS = ("cuda.py", "cuda_driver.py")
"""Modules that only images for GPUs have."""


FOR_MANY = ("processes.py", "shards.py", "together.py")
"""Modules that only images of recipes with several processes have."""


def runtime_bundle(device: str = "cpu", world_size: int = 1) -> Bundle:
    """Every module that such a run needs. Raises EnvironmentLacks where there is none."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise EnvironmentLacks(
            f"the package {PACKAGE} is not installed",
            hint="install recipec again; its wheel brings the runtime",
        )
    folder = Path(found.origin).parent
    left_out = (
        *(FOR_GPUS if device == "cpu" else ()),
        *(FOR_MANY if world_size == 1 else ()),
    )
    names = sorted(path.name for path in folder.glob("*.py") if path.name not in left_out)
    return Bundle.of({f"{PACKAGE}/{name}": (folder / name).read_bytes() for name in names})
