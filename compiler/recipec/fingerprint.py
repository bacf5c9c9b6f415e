"""Which compiler this is: a digest that moves whenever a file of the three packages does.

It is asked for on every start, so this module imports next to nothing.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import recipec
from recipec.store import sha256


@cache
def compiler_fingerprint() -> str:
    """Changes whenever a file of this compiler does, also in an editable install.

    Made from names, sizes and times of the three packages' files: a millisecond, no reading.
    """
    home = Path(recipec.__file__).parent
    roots = [home]
    for name in ("recipec_runtime", "recipec_templates"):
        roots.append(package_folder(name))
    stamps = []
    for root in roots:
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if f != "__pycache__")
            for file in sorted(files):
                about = os.stat(f"{folder}/{file}")  # noqa: PTH116 - one of a hundred, on every start
                stamps.append(f"{folder}/{file} {about.st_size} {about.st_mtime_ns}")
    return sha256("\n".join([recipec.__version__, *stamps]).encode())


def package_folder(name: str) -> Path:
    """The folder of a package that is shipped beside the compiler, without importing it."""
    import importlib.util

    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))
