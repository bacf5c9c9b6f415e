"""One HTTP exchange with a server: connections, limits, and what went wrong in words.

In: a request. Out: an `Answer` read in full, or a response to stream; `Cut` where another try may
help, EnvironmentLacks where none can. It knows nothing of registries or credentials: it sends the
headers that it is given, follows no redirect, and shows no URL's query, which may be signed.
"""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from socket import SHUT_RDWR
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError, SSLError

from recipec.errors import EnvironmentLacks
from recipec.publish.reference import is_loopback

BLOCK = 128 << 10
"""Bytes handed to the network at a time. A block must leave within CONNECT seconds, so this is what
sets the slowest line that still works: 4 KB/s."""
CONNECT = 30.0
"""Seconds to connect, or to send one block."""
READ = 300.0
"""Seconds without a byte of an answer: a registry hashes 10 GB before it says that it has them."""
ANSWER = 600.0
"""Seconds that an answer may take in all, however steadily it drips."""
LIMIT = 8 << 20
"""Bytes of an answer: registries take manifests of 4 MiB at most."""


class Body(Protocol):
    """Bytes to send, which can be sent again."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        ...

    def rewind(self) -> None:
        """Begin anew."""
        ...


class Cut(Exception):
    """A request that may be tried again failed for now."""

    def __init__(self, why: str, *, wait: float = 0.0, status: int = 0) -> None:
        super().__init__(why)
        self.why = why
        self.wait = wait
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said. `url` is where the request went: locations are relative to it."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    url: str


class Wire:
    """Connections to servers; safe for several threads."""

    def __init__(self, base: str) -> None:
        self.stopped = threading.Event()
        self._open: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
        self._pool = _pool(base, self._open)

    def stop(self) -> None:
        """End every exchange under way, so that no thread waits for an answer nobody wants."""
        self.stopped.set()
        for connection in list(self._open):
            sock = connection.sock
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(SHUT_RDWR)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Body | None = None
    ) -> Answer:
        """Send one request; its whole answer, whatever the status.

        Raises Cut when the connection fails, EnvironmentLacks when no retry can help.
        """
        with self.stream(method, url, headers, body) as response:
            data = _read_all(response, url)
            return Answer(status=response.status, headers=response.headers, data=data, url=url)

    @contextmanager
    def stream(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Body | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send one request; its answer, whose body is still to be read. Raises as `send` does.

        What goes wrong while the body is read inside the `with` is raised in the same way.
        """
        if self.stopped.is_set():
            raise EnvironmentLacks("stopped")
        response = None
        try:
            response = self._pool.request(
                method,
                url,
                headers={"User-Agent": "recipec", "Accept-Encoding": "identity", **headers},
                body=cast(Any, body),  # anything with read(), says urllib3
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=CONNECT, read=READ),
            )
            yield response
        except SSLError as error:
            raise EnvironmentLacks(
                f"no trusted connection to {urlsplit(url).netloc}: {_reason(error)}",
                hint="add the registry's certificate authority to the system's, or SSL_CERT_FILE",
            ) from None
        except NameResolutionError:
            raise EnvironmentLacks(
                f"there is no host called {urlsplit(url).hostname}",
                hint="check the spelling and the network",
            ) from None
        except (HTTPError, HTTPException, ConnectionError, TimeoutError) as error:
            raise Cut(_reason(error)) from None
        finally:
            if response is not None:
                response.close()  # one that was read in full has given its connection back


def _read_all(response: urllib3.BaseHTTPResponse, url: str) -> bytes:
    parts, size, deadline = [], 0, time.monotonic() + ANSWER
    while part := response.read1(BLOCK):
        parts.append(part)
        size += len(part)
        if size > LIMIT:
            raise EnvironmentLacks(
                f"{shown(url)} answers with more than {LIMIT >> 20} MiB",
                hint="no registry does: check the host and the port",
            )
        if time.monotonic() > deadline:
            raise Cut("the answer does not end")
    return b"".join(parts)


def retry_after(answer: Answer) -> float:
    """Seconds that the server asks us to wait, or 0; a date counts from the answer's own."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with suppress(ValueError, TypeError, LookupError):
        until = parsedate_to_datetime(text)
        return max(0.0, (until - parsedate_to_datetime(answer.headers["Date"])).total_seconds())
    return 0.0


def is_local(url: str) -> bool:
    """Whether the URL's host is this machine."""
    return is_loopback(urlsplit(url).netloc)


def shown(url: str) -> str:
    """A URL without its query, which may be signed."""
    return url.partition("?")[0]


def _pool(base: str, opened: weakref.WeakSet[HTTPConnection]) -> urllib3.PoolManager:
    from urllib.request import getproxies, proxy_bypass

    host, scheme = urlsplit(base).hostname or "", urlsplit(base).scheme
    options: dict[str, Any] = {"maxsize": 16, "blocksize": BLOCK}
    proxy = getproxies().get(scheme)
    manager = (
        urllib3.ProxyManager(proxy, **options)
        if proxy and not is_local(base) and not proxy_bypass(host)
        else urllib3.PoolManager(**options)
    )
    manager.pool_classes_by_scheme = _remembering(opened)
    return manager


def _remembering(opened: weakref.WeakSet[HTTPConnection]) -> dict[str, Any]:
    """Pools whose connections are entered in `opened` when they connect."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            opened.add(self)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            opened.add(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _reason(error: Exception) -> str:
    """What went wrong in a few words, without addresses of objects or URLs."""
    inner = error.args[-1] if error.args else error
    if isinstance(inner, Exception) and inner is not error:
        return _reason(inner)
    text = getattr(error, "strerror", None) or str(inner).rpartition(">: ")[2]
    return re.sub(r"^\w+\([^)]*\): ", "", text).strip() or type(error).__name__
