"""A cloud on loopback: it speaks HTTP, records what it is asked, and answers as a test says.

Clients that can be told another address get it. The others are led here by HTTPS_PROXY: the server
takes CONNECT for any host, speaks TLS with a certificate for the hosts given, and sees the requests
as that host would. Nothing leaves this machine.
"""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as it came."""

    method: str
    host: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """By name in small letters."""
    body: bytes

    @property
    def plain(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def line(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer: JSON, or bytes as they are. Without `status` the connection is cut."""

    status: int = 200
    plain: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        """The body."""
        return self.plain if isinstance(self.plain, bytes) else json.dumps(self.plain).encode()


Answer = Callable[[Asked], Reply]


@dataclass(kw_only=True)
class Cloud:
    """The running server: what it was asked, and how it answers."""

    host: str
    answer: Answer
    certificate: Path | None
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self.host}"

    @property
    def lines(self) -> list[str]:
        """Method and path of every request."""
        return [one.line for one in self.asked]

    def proxied(self) -> dict[str, str]:
        """The environment that leads every client here."""
        certificate = str(self.certificate)
        return {
            "HTTPS_PROXY": self.url,
            "https_proxy": self.url,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "SSL_CERT_FILE": certificate,
            "REQUESTS_CA_BUNDLE": certificate,
        }


def certified(folder: Path, *hosts: str) -> Path:
    """A certificate for these hosts, which vouches for itself, and its key in one file."""
    key, whole = folder / "cloud.key", folder / "cloud.pem"
    names = ",".join(f"DNS:{host}" for host in hosts)
    words = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    words += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    words += ["-addext", f"subjectAltName={names}", "-keyout", str(key)]
    subprocess.run([*words, "-out", str(whole)], check=True, capture_output=True)
    whole.write_bytes(whole.read_bytes() + key.read_bytes())
    return whole


@contextmanager
def cloud(answer: Answer, certificate: Path | None = None) -> Iterator[Cloud]:
    """A server; with a certificate it also stands in for that one's hosts."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(context))
    server.daemon_threads = True
    host = f"127.0.0.1:{server.server_address[1]}"
    made = Cloud(host=host, answer=answer, certificate=certificate)
    server.cloud = made  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(context: ssl.SSLContext | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        inside = ""

        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            assert context is not None, self.path
            self.inside = self.path.removesuffix(":443")
            try:
                self.connection = context.wrap_socket(self.connection, server_side=True)
            except OSError:
                self.close_connection = True
                return
            self.rfile = self.connection.makefile("rb")
            self.wfile = self.connection.makefile("wb", buffering=0)
            self.close_connection = False

        def parse_request(self) -> bool:
            good = super().parse_request()
            if good and self.command != "CONNECT":
                self.command, self.real = "ANY", self.command
            return good

        def do_ANY(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            parts = urlsplit(self.path)
            asked = Asked(
                method=self.real,
                host=self.inside or self.headers.get("Host", ""),
                path=parts.path,
                query=parse_qs(parts.query),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(size) if size else b"",
            )
            made: Cloud = self.server.cloud  # type: ignore[attr-defined]
            made.asked.append(asked)
            reply = made.answer(asked)
            if not reply.status:
                self.close_connection = True
                return
            self.send_response(reply.status)
            given = {"Content-Type": "application/json", **reply.headers}
            for name, value in given.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.data)))
            self.end_headers()
            if self.real != "HEAD":
                self.wfile.write(reply.data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
