"""The runtime's own files, as they go into the image.

In: nothing. Out: a `Bundle` of recipec_runtime/*.py, read from where the package lies. The package
is found, never imported: the compiler needs none of what it needs.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from recipec.emit.bundle import Bundle
from recipec.errors import EnvironmentLacks

PACKAGE = "recipec_runtime"


def runtime_bundle() -> Bundle:
    """Every module of the runtime. Raises EnvironmentLacks where it is not installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise EnvironmentLacks(
            f"the package {PACKAGE} is not installed",
            hint="install recipec again; its wheel brings the runtime",
        )
    folder = Path(found.origin).parent
    return Bundle.of({f"{PACKAGE}/{p.name}": p.read_bytes() for p in sorted(folder.glob("*.py"))})
