"""The image that a user means: by recipe, archive, layout, build folder or registry reference.

In: what stands on the command line. Out: what kind of thing it is, and the opened image. Of an
image in a registry only manifest and config are fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recipec.cli.project import find_project, split_member
from recipec.errors import EnvironmentLacks, UsageError
from recipec.store import Store

if TYPE_CHECKING:
    from recipec.image.opened import Opened
    from recipec.publish.remote import Remote

_TAR_MAGIC = slice(257, 262)
_FILES = (".yaml", ".yml", ".json", ".tar")
"""Endings of names that mean a file, even where there is none."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a word on the command line names. kind: recipe, lock, image or registry."""

    kind: str
    text: str

    @property
    def path(self) -> Path:
        """The word as a path."""
        return Path(self.text)


def named(text: str) -> Named:
    """What `text` names: by its name for recipes and locks, by its content for images.

    Raises UsageError for nothing at all.
    """
    path = Path(text)
    if path.is_dir():
        for folder in (path, path / "image"):
            if (folder / "index.json").is_file():
                return Named(kind="image", text=str(folder))
        raise UsageError(
            f"{path} holds no image", hint="name an OCI layout or a build folder (build/NAME)"
        )
    file, _ = split_member(path)
    if not file.is_file():
        if _is_reference(text):
            return Named(kind="registry", text=text)
        raise UsageError(f"there is no {path}", hint="name two files or two build folders")
    if path.name.endswith(".json"):
        return Named(kind="lock", text=text)
    return Named(kind="image" if _is_tar(file) else "recipe", text=text)


def _is_tar(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(512)[_TAR_MAGIC] == b"ustar"


def _is_reference(text: str) -> bool:
    from recipec.publish.remote import parse_place

    if text.endswith(_FILES):
        return False
    try:
        parse_place(text)
    except UsageError:
        return False
    return True


def open_named(what: Named, store: Store) -> Opened:
    """The image: of a recipe, the one that was built last. Raises EnvironmentLacks if none is."""
    from recipec.image.opened import open_image

    if what.kind == "registry":
        return open_remote(what.text)[0]
    if what.kind == "recipe":
        return open_image(_built(what.path, store))
    return open_image(what.path)


def open_remote(reference: str) -> tuple[Opened, Remote]:
    """An image in a registry, without its layers, and the repository that it is in."""
    from recipec.image.opened import opened
    from recipec.publish.remote import Remote, object_of, parse_place

    target, asked = parse_place(reference)
    remote = Remote(target)
    found = remote.image(asked)
    plain = found.plain
    image = opened(
        reference,
        manifest=found.data,
        media_type=found.descriptor.media_type,
        config=remote.blob(object_of(plain, "config")),
        annotations=object_of(plain, "annotations"),
    )
    return image, remote


def _built(recipe: Path, store: Store) -> Path:
    """The layout of a recipe's last build."""
    from recipec.cli.frontend import load

    project = find_project(recipe)
    folder = project.folder(load(project, store).recipe.name) / "image"
    if not (folder / "index.json").is_file():
        raise EnvironmentLacks(
            f"{recipe} has no image yet", hint=f"run `recipec build {recipe}` first"
        )
    return folder
