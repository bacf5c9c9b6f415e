"""Writing an image's archive where a user wants it: the whole file or the old one, never half."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from recipec.image.image import Image
from recipec.store import Store, disk_error, make_folder


def write_file(image: Image, store: Store, target: Path, *, reference: str) -> None:
    """Write the archive under a temporary name, then rename it. Raises EnvironmentLacks."""
    from recipec.image.archive import write_archive

    make_folder(target.parent)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            write_archive(image, store, stream, reference=reference)
            os.fchmod(stream.fileno(), 0o644)
        Path(name).replace(target)
    except OSError as error:
        raise disk_error(error, target.parent) from error
    finally:
        Path(name).unlink(missing_ok=True)
