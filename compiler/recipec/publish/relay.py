"""A blob of one registry as the body of an upload to another: it passes through, and is not kept.

In: a session with the registry that has it. Out: slices of the blob as request bodies, which can be
sent again. What passes from the first byte to the last is hashed, so that a registry that gives
other bytes is told from one that loses them. Nothing is written to disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from recipec.errors import HashMismatch
from recipec.image.image import Descriptor
from recipec.publish.session import RECOVERABLE, Session
from recipec.publish.wire import Answer, Cut, retry_after
from recipec.store import CHUNK


class Relay:
    """A blob in a registry."""

    def __init__(self, session: Session, repository: str, blob: Descriptor) -> None:
        self._session = session
        self._url = f"/v2/{repository}/blobs/{blob.digest}"
        self._blob = blob
        self._passed = ""

    def part(self, start: int, size: int, sent: Callable[[int], None]) -> RelayPart:
        """A slice of the blob; `sent` is told how far of the blob has been read."""
        return RelayPart(self, start, size, sent)

    def check(self) -> None:
        """Raise HashMismatch if what passed as a whole was another blob."""
        if self._passed not in ("", self._blob.digest):
            raise HashMismatch(
                f"a blob of {self._session.registry}",
                expected=self._blob.digest,
                found=self._passed,
                hint="the registry, or something before it, gives other bytes; no tag was set",
            )

    def passed(self, digest: str) -> None:
        """What has passed from the first byte to the last had this digest."""
        self._passed = digest

    def open(self, stack: ExitStack, start: int) -> BaseHTTPResponse:
        """The registry's answer from byte `start` on, held open by `stack`. Raises Cut."""
        response = stack.enter_context(self._session.stream(self._url, start=start))
        if response.status == (206 if start else 200):
            return response
        data = b"" if response.status == 200 else response.read(1 << 16)
        answer = Answer(status=response.status, headers=response.headers, data=data, url=self._url)
        if response.status == 200:
            self._skip(response, start)
            return response
        if response.status in RECOVERABLE:
            raise Cut(f"status {answer.status}", wait=retry_after(answer), status=0)
        raise self._session.refusal(answer, f"the blob {self._blob.digest}")

    def _skip(self, response: BaseHTTPResponse, left: int) -> None:
        """Pass over what was sent already, where a registry gives no part of a blob."""
        while left:
            data = response.read1(min(left, CHUNK), decode_content=False)
            if not data:
                raise Cut("the answer ends too early")
            left -= len(data)

    @property
    def size(self) -> int:
        """Bytes of the whole blob."""
        return self._blob.size


class RelayPart:
    """A slice of a blob in a registry as a request's body."""

    def __init__(self, relay: Relay, start: int, size: int, sent: Callable[[int], None]) -> None:
        self._relay = relay
        self._start = start
        self._size = size
        self._sent = sent
        self._stack = ExitStack()
        self.rewind()

    def rewind(self) -> None:
        """Begin anew."""
        self._stack.close()
        self._response: BaseHTTPResponse | None = None
        self._left = self._size
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the slice. Raises Cut where the registry gives fewer."""
        wanted = self._left if size < 0 else min(size, self._left)
        if not wanted:
            return b""
        if self._response is None:
            self._response = self._relay.open(self._stack, self._start)
        try:
            data = self._response.read1(wanted, decode_content=False)
        except (HTTPError, OSError):
            raise Cut("the answer of the registry that it comes from was cut") from None
        if not data:
            raise Cut("the answer of the registry that it comes from ends too early")
        self._left -= len(data)
        self._hash.update(data)
        if not self._left and self._size == self._relay.size:
            self._relay.passed("sha256:" + self._hash.hexdigest())
        self._sent(self._start + self._size - self._left)
        return data

    def __enter__(self) -> RelayPart:
        return self

    def __exit__(self, *about: object) -> None:
        self._stack.close()
