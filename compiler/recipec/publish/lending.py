"""Where the layers lie that an image has from another one.

In: a reference and the layers' digests. Out: a repository to mount them from where it is of the
same registry, else their bytes as they come. No blob is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from recipec.image.image import Descriptor
from recipec.publish.reference import Source
from recipec.publish.relay import Relay
from recipec.publish.session import Session


@dataclass(frozen=True, kw_only=True)
class Lender:
    """The repository of borrowed layers: an image that has them need not have them in the store."""

    source: Source
    digests: frozenset[str]

    def repository_of(self, blob: Descriptor, registry: str) -> str:
        """The repository of `registry` that has the blob for us; empty if there is none."""
        fits = self.source.registry == registry and blob.digest in self.digests
        return self.source.repository if fits else ""


class Lending:
    """The session with the lender, opened by `opener` when the first blob is asked for."""

    def __init__(self, lender: Lender | None, opener: Callable[..., Session]) -> None:
        self._lender = lender
        self._opener = opener
        self._lock = threading.Lock()
        self._session: Session | None = None

    def content(self, blob: Descriptor) -> Relay:
        """A borrowed layer's bytes as they come. Raises EnvironmentLacks if nobody answers."""
        assert self._lender is not None, blob  # a push refuses beforehand what is nowhere
        source = self._lender.source
        with self._lock:
            if self._session is None:
                self._session = self._opener(source, write=False, plain_http=False)
        return Relay(self._session, source.repository, blob)

    def stop(self) -> None:
        """End what is under way."""
        if self._session is not None:
            self._session.stop()
