"""A small HTTP proxy before a real registry that fails where a test tells it to.

It forwards to the registry on loopback. A `Fault` spoils the next matching requests: a status, a
cut of the connection after so many body bytes, a slow line, other bytes in the answer. With `users`
it asks for bearer tokens and gives them at /token for basic credentials; with `storage` it sends
whoever reads a blob to another server, as registries before object stores do.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(kw_only=True)
class Fault:
    """Spoils `times` requests whose method and path match."""

    method: str
    path: str
    times: int = 1
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int = -1
    forward_first: bool = False
    """Cut only after the registry did what was asked."""
    replace: bytes = b""
    reset: bool = False
    """Cut with a reset instead of an end."""
    stall: float = 0.0
    """Seconds of silence before the answer, and before the second half of its body."""
    flip: float = -1.0
    """Change one byte of the request's body, at this share of its length."""
    flip_answer: float = -1.0
    """The same in the answer's body."""
    short: float = -1.0
    """Send this share of the answer's body and cut the connection."""


@dataclass(kw_only=True)
class Proxy:
    """The running proxy: what it saw, and what it will spoil."""

    upstream: str
    host: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    users: dict[str, str] = field(default_factory=dict)
    token_uses: int = 1 << 30
    """Requests after which a token is no longer good."""
    tokens: dict[str, int] = field(default_factory=dict)
    largest_body: int = 0
    sent: int = 0
    """Bytes of all request bodies."""
    connections: int = 0
    storage: str = ""
    """HOST:PORT of the server to which reads of blobs are redirected."""
    chaos: Callable[[str, str, Mapping[str, str]], Fault | None] | None = None
    """Says how to spoil a request with this method, path and headers."""
    throttle: float = 0.0
    """Seconds for each 256 KiB of a request's body."""
    authorizations: list[str] = field(default_factory=list)
    """What clients sent as Authorization, empty where they sent none."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        """The fault for this request, used up by one."""
        with self.lock:
            self.seen.append((method, path))
            self.authorizations.append(headers.get("Authorization", ""))
            if self.chaos is not None:
                return self.chaos(method, path, headers)
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def count(self, method: str, path: str = "") -> int:
        """How many such requests came."""
        return sum(1 for m, p in self.seen if m == method and re.search(path, p))


@contextmanager
def proxy(upstream: str, *, users: Mapping[str, str] | None = None) -> Iterator[Proxy]:
    """A proxy before the registry at `upstream` (HOST:PORT)."""
    state = Proxy(upstream=upstream, users=dict(users or {}))

    class Handler(_Handler):
        proxy = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def setup(self) -> None:
        super().setup()
        with self.proxy.lock:
            self.proxy.connections += 1

    def handle(self) -> None:
        with suppress(OSError):  # the client went away
            super().handle()

    def _cut(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _answer(
        self, status: int, headers: Mapping[str, str], data: bytes = b"", fault: Fault | None = None
    ) -> None:
        self.send_response_only(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        half = len(data) // 2
        if fault and fault.short >= 0 and data:
            self.wfile.write(data[: int(len(data) * fault.short)])
            return self._cut(reset=fault.reset)
        self.wfile.write(data[:half])
        if fault and fault.stall and data:
            self.wfile.flush()
            time.sleep(fault.stall)
        self.wfile.write(data[half:])
        return None

    def _body(self) -> bytes:
        left, parts = int(self.headers.get("Content-Length") or 0), []
        while left > 0 and (part := self.rfile.read(min(left, 256 << 10))):
            left -= len(part)
            parts.append(part)
            time.sleep(self.proxy.throttle)
        body = b"".join(parts)
        with self.proxy.lock:
            self.proxy.largest_body = max(self.proxy.largest_body, len(body))
            self.proxy.sent += len(body)
        return body

    def _handle(self) -> None:
        fault = self.proxy.take(self.command, self.path, dict(self.headers.items()))
        if fault and fault.cut_after >= 0 and not fault.forward_first:
            self._forward_part(fault.cut_after)
            return self._cut(reset=fault.reset)
        body = self._body()
        if self.path.startswith("/token") and not (fault and fault.status):
            return self._give_token()
        if self.proxy.users and not self.path.startswith("/token") and not self._let_in():
            return None
        if self.proxy.storage and self.command == "GET" and "/blobs/sha256:" in self.path:
            place = f"http://{self.proxy.storage}{self.path}?signature=s3cret"
            return self._answer(307, {"Location": place})
        if fault and fault.status:
            return self._answer(fault.status, fault.headers, b'{"errors":[{"code":"TESTED"}]}')
        if fault and fault.flip >= 0:
            body = _flipped(body, fault.flip)
        status, headers, data = self._forward(body)
        if fault and fault.forward_first:
            return self._cut(reset=fault.reset)
        if fault and fault.replace:
            data = fault.replace
            headers.pop("Content-Length", None)
        if fault and fault.flip_answer >= 0:
            data = _flipped(data, fault.flip_answer)
        if fault and fault.stall:
            time.sleep(fault.stall)
        headers.update(fault.headers if fault else {})
        return self._answer(status, headers, data, fault)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=30)
        kept = {k: v for k, v in self.headers.items() if k.lower() != "host"}
        if self.proxy.users:
            kept.pop("Authorization", None)
        upstream.request(self.command, self.path, body=body or None, headers=kept)
        answer = upstream.getresponse()
        data = answer.read()
        headers = dict(answer.getheaders())
        if "Location" in headers:
            headers["Location"] = headers["Location"].replace(self.proxy.upstream, self.proxy.host)
        upstream.close()
        return answer.status, headers, data

    def _forward_part(self, amount: int) -> None:
        """Send the registry only the first bytes of the body, then drop both connections."""
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=30)
        upstream.putrequest(self.command, self.path, skip_host=True)
        for key, value in self.headers.items():
            upstream.putheader(key, value if key.lower() != "host" else self.proxy.upstream)
        amount = min(amount, int(self.headers.get("Content-Length") or 0))
        upstream.endheaders(self.rfile.read(amount) if amount else None)
        upstream.close()

    def _let_in(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.proxy.lock:
            left = self.proxy.tokens.get(given, 0)
            self.proxy.tokens[given] = left - 1
        if left > 0:
            return True
        challenge = f'Bearer realm="http://{self.proxy.host}/token",service="tests",scope="x"'
        self._answer(401, {"WWW-Authenticate": challenge})
        return False

    def _give_token(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        user, _, password = base64.b64decode(given).decode().partition(":")
        if not user or self.proxy.users.get(user) != password:
            return self._answer(401, {})
        token = secrets.token_hex(16)
        self.proxy.tokens[token] = self.proxy.token_uses
        return self._answer(200, {}, json.dumps({"token": token}).encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _handle


def _flipped(data: bytes, share: float) -> bytes:
    """The data with one bit changed."""
    if not data:
        return data
    place = min(len(data) - 1, int(len(data) * share))
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
