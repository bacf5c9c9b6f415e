"""A registry's image as the base of ours: its manifest and config, and layers where one is needed.

In: a reference by digest. Out: what `recipec.pins.baseimage` asks for, every byte checked by its
digest; blobs go into the store and are gone on with after a cut. Nothing is written to the
registry. It asks nobody before the first question.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from recipec.errors import UnsafeInput
from recipec.image.image import DOCKER_CONFIG, OCI_CONFIG, Descriptor
from recipec.pins.baseimage import Served, ServedLayer
from recipec.pins.lockfile import BaseLayer
from recipec.progress import Progress
from recipec.publish.blobs import Download
from recipec.publish.manifests import LARGEST_CONFIG, Index, Manifest, choose, fetch, get
from recipec.publish.parallel import each, largest_first
from recipec.publish.pull import PLATFORM
from recipec.publish.reference import Source
from recipec.publish.registry import open_session
from recipec.publish.session import Session
from recipec.store import Store, sha256


class RegistryBase:
    """The repository that a base lies in; fulfils `recipec.pins.baseimage.BaseSource`."""

    def __init__(self, source: Source, store: Store, progress: Progress) -> None:
        self._source = source
        self._store = store
        self._progress = progress

    @cached_property
    def _session(self) -> Session:
        return open_session(self._source, write=False, plain_http=False)

    def tagged(self) -> str:
        """The digest that the reference's tag names now; empty if the registry has no such tag.

        Raises EnvironmentLacks where it cannot be asked or refuses.
        """
        answer = get(self._session, self._source.repository, self._source.wanted)
        return sha256(answer.data) if answer is not None else ""

    def image(self) -> Served:
        """The image for linux/amd64, its config in the store.

        Raises EnvironmentLacks where it cannot be had, HashMismatch for other bytes, UnsafeInput
        for what is no image.
        """
        source, session = self._source, self._session
        found = fetch(session, source.repository, source.wanted)
        if isinstance(found, Index):
            about = choose(found, PLATFORM, str(source))
            found = fetch(session, source.repository, about.digest, about=about)
        kinds = {OCI_CONFIG, DOCKER_CONFIG}
        if not isinstance(found, Manifest) or found.config.media_type not in kinds:
            raise UnsafeInput(
                f"{source} is no image",
                hint="name an image with an OCI or a Docker schema2 manifest",
            )
        return Served(
            manifest=found.about.digest,
            config=found.config.digest,
            data=self.config(found.config.digest, found.config.size),
            layers=tuple(
                ServedLayer(digest=layer.digest, size=layer.size, media_type=layer.media_type)
                for layer in found.layers
            ),
        )

    def config(self, digest: str, size: int) -> bytes:
        """A config by its digest, from the store or into it. Raises as `image` does."""
        if size > LARGEST_CONFIG:
            raise UnsafeInput(f"{self._source} has a config of {size} bytes")
        self._bring((Descriptor(media_type=OCI_CONFIG, digest=digest, size=size),), "")
        return self._store.read(digest)

    def layer(self, layer: BaseLayer) -> Path:
        """A layer's blob, from the store or into it. Raises as `image` does."""
        about = Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size)
        self.layers((about,))
        return self._store.path(layer.digest)

    def layers(self, blobs: Sequence[Descriptor]) -> None:
        """Bring these blobs into the store, those that are not there. Raises as `image` does."""
        self._bring(blobs, f"base from {self._source.registry}")

    def _bring(self, blobs: Sequence[Descriptor], what: str) -> None:
        lacking = [blob for blob in largest_first(blobs) if not self._store.has(blob.digest)]
        if not lacking:
            return
        progress = self._progress
        task = progress.begin(what, sum(blob.size for blob in lacking)) if what else None

        def bring(blob: Descriptor) -> None:
            def told(amount: int) -> None:
                if task is not None:
                    progress.advance(task, amount)

            Download(self._session, self._source.repository, blob, self._store, told).run()

        # The session is opened here: not by several threads at once.
        each(lacking, bring, self._session)
        if task is not None:
            progress.end(task)
