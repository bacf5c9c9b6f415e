"""The image of a registry that a recipe's image begins with: pinned, brought here, lent.

In: a recipe whose `image.base` names one. Out: its pin for the lock; its layers in the store, where
something here must read them; the place from which a push has them. Only the base is dealt with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recipec.cli.frontend import Loaded, load
from recipec.cli.state import Built
from recipec.errors import RecipecError, RecipeError, UnusableBase, UsageError
from recipec.progress import Progress
from recipec.recipe.bases import MUST, digest_in
from recipec.store import Store

if TYPE_CHECKING:
    from recipec.engines.engine import Engine
    from recipec.pins.lockfile import BaseImage, Lock
    from recipec.publish.bases import RegistryBase
    from recipec.publish.lending import Lender
    from recipec.publish.reference import Source

_PATH = ("image", "base")


def pin(
    loaded: Loaded, old: Lock | None, store: Store, progress: Progress, *, locked: bool
) -> BaseImage:
    """The pin of the recipe's base, `old`'s if it is the same image.

    Raises RecipeError at the recipe's line for one that is named by tag or cannot be used,
    StaleLock when `locked` and it is another, EnvironmentLacks, HashMismatch, UnsafeInput.
    """
    from recipec.pins.baseimage import pin_base

    if not digest_in(loaded.recipe.image.base):
        raise _at_its_line(loaded, MUST, _hint_with_digest(loaded, store, progress))
    place = _place(loaded)
    try:
        return pin_base(
            place.repository,
            place.digest,
            old=old.base if old is not None else None,
            source=lambda: _registry(place, store, progress),
            has=store.has,
            locked=locked,
        )
    except UnusableBase as error:
        message = f"the base cannot be used: {error.message}"
        raise _at_its_line(loaded, message, error.hint) from error


def known(loaded: Loaded, old: Lock | None) -> BaseImage | None:
    """The pin in a lock, if it is of the recipe's base; nobody is asked."""
    from recipec.pins.baseimage import fits

    if old is None or not digest_in(loaded.recipe.image.base):
        return None
    place = _place(loaded)
    return old.base if fits(old.base, place.repository, place.digest) else None


def bring(built: Built, store: Store, progress: Progress) -> None:
    """Have the layers of the base in the store, and in the build's layout.

    For whatever reads an image here: engines, archives. Raises EnvironmentLacks or HashMismatch
    where the registry does not give them.
    """
    from recipec.image.layout import lacking, write_layout

    absent = lacking(built.image, store)
    if absent:
        place = _place(load(built.project, store))
        _registry(place, store, progress).layers([layer.blob for layer in absent])
        reference = f"recipec.local/{built.name}:latest"
        write_layout(built.image, store, built.folder / "image", reference=reference)


def bring_for(engine: Engine, built: Built, store: Store, progress: Progress) -> None:
    """Have the layers of the base here, if the engine runs images. Raises as `bring` does."""
    if engine.name != "host":
        bring(built, store, progress)


def bring_pinned(loaded: Loaded, base: BaseImage, store: Store, progress: Progress) -> None:
    """Have the config and the layers of a pinned base in the store. Raises as `bring` does."""
    from recipec.image.image import OCI_LAYER, Descriptor

    registry = _registry(_place(loaded), store, progress)
    registry.config(base.config, base.config_size)
    registry.layers(
        [
            Descriptor(media_type=OCI_LAYER, digest=layer.digest, size=layer.size)
            for layer in base.layers
        ]
    )


def lender(built: Built, store: Store) -> Lender | None:
    """Where a push finds the layers of the base; None for an image that borrows none."""
    from recipec.publish.lending import Lender

    borrowed = frozenset(layer.blob.digest for layer in built.image.layers if layer.borrowed)
    if not borrowed:
        return None
    return Lender(source=_place(load(built.project, store)), digests=borrowed)


def _place(loaded: Loaded) -> Source:
    from recipec.publish.reference import parse_source

    try:
        return parse_source(loaded.recipe.image.base)
    except UsageError as error:
        raise _at_its_line(loaded, error.message, error.hint) from error


def _registry(place: Source, store: Store, progress: Progress) -> RegistryBase:
    from recipec.publish.bases import RegistryBase

    return RegistryBase(place, store, progress)


def _hint_with_digest(loaded: Loaded, store: Store, progress: Progress) -> str:
    """The name to write, if the registry tells it."""
    base = loaded.recipe.image.base
    try:
        digest = _registry(_place(loaded), store, progress).tagged()
    except RecipecError as error:
        return f"the registry could not be asked for it: {error.message}"
    if not digest:
        return f"its registry has no {base}; check the name and the tag"
    return f"write {base}@{digest}, which is what the tag names now"


def _at_its_line(loaded: Loaded, message: str, hint: str) -> RecipeError:
    return RecipeError([loaded.document().diagnostic(_PATH, message, hint)])
