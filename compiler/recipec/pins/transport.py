"""One HTTP request: certificates, proxies, passwords, and what an answer means.

In: a URL and an `Access`. Out: an open response, or an error in words a user can act on. URLs are
shown without user, password and query. It writes nothing and retries nothing.
"""

from __future__ import annotations

import os
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from recipec.errors import EnvironmentLacks

if TYPE_CHECKING:
    import ssl

    from urllib3 import BaseHTTPResponse, PoolManager

CONNECT_SECONDS, READ_SECONDS = 15.0, 60.0


class Gone(EnvironmentLacks):
    """Upstream no longer has this file."""


class Transient(Exception):
    """The answer may be another one on the next try; `wait` is what the server asked for, in s."""

    def __init__(self, why: str, *, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A user and password for one host (`name` or `name:port`)."""

    host: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to reach servers. `certificates` is a file or folder of CA certificates."""

    certificates: str | None = None
    proxy: str | None = None
    """Used where the environment names no proxy."""
    insecure_hosts: tuple[str, ...] = ()
    credentials: tuple[Credential, ...] = ()


class Transport:
    """Open connections to every host in use, shared by all threads."""

    def __init__(self, access: Access, *, connections: int) -> None:
        self._access = access
        self._connections = connections
        self._managers: dict[tuple[str | None, bool], PoolManager] = {}

    def open(self, url: str, *, start: int = 0) -> BaseHTTPResponse:
        """GET `url` from byte `start`; the body is not read yet.

        Raises Gone on 404 and 410, Transient on resets, 429 and 5xx, EnvironmentLacks on the rest.
        """
        import urllib3
        from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

        headers = {"Accept-Encoding": "identity", "User-Agent": "recipec"}
        headers |= self._authorization(url)
        if start:
            headers["Range"] = f"bytes={start}-"
        # Redirects are followed here; every other repetition is the downloader's decision.
        retries = urllib3.Retry(
            total=None, connect=0, read=0, redirect=10, status=0, other=0, raise_on_status=False
        )
        try:
            response = self._manager(url).request(
                "GET", without_password(url), headers=headers, preload_content=False,
                decode_content=False, retries=retries,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            )  # fmt: skip
        except (HTTPError, OSError) as error:
            reason = error.reason if isinstance(error, MaxRetryError) else error
            if isinstance(reason, SSLError):
                raise EnvironmentLacks(
                    f"{shown(url)}: the server's certificate is not trusted ({reason})",
                    hint="name the CA certificates in SSL_CERT_FILE, or in pip's `cert` option",
                ) from error
            raise Transient(_in_words(reason)) from error
        _judge(url, response)
        return response

    def _authorization(self, url: str) -> dict[str, str]:
        from urllib3.util import make_headers

        parts = urlsplit(url)
        if parts.username:
            from urllib.parse import unquote

            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            return dict(make_headers(basic_auth=pair))
        host = parts.netloc.rpartition("@")[2]
        for known in self._access.credentials:
            if known.host in {host, parts.hostname}:
                return dict(make_headers(basic_auth=f"{known.user}:{known.password}"))
        found = _from_netrc(parts.hostname or "")
        return dict(make_headers(basic_auth=found)) if found else {}

    def _manager(self, url: str) -> PoolManager:
        import urllib3

        parts = urlsplit(url)
        proxy = _proxy(parts.scheme, parts.hostname or "", self._access.proxy)
        host = parts.netloc.rpartition("@")[2]
        insecure = bool({host, parts.hostname} & set(self._access.insecure_hosts))
        if (proxy, insecure) not in self._managers:
            context = _context(self._access.certificates, insecure=insecure)
            if proxy:
                pair = urlsplit(proxy)
                headers = {}
                if pair.username:
                    headers = urllib3.make_headers(
                        proxy_basic_auth=f"{pair.username}:{pair.password or ''}"
                    )
                manager: PoolManager = urllib3.ProxyManager(
                    without_password(proxy), proxy_headers=headers,
                    ssl_context=context, maxsize=self._connections,
                )  # fmt: skip
            else:
                manager = urllib3.PoolManager(ssl_context=context, maxsize=self._connections)
            self._managers[proxy, insecure] = manager
        return self._managers[proxy, insecure]


def shown(url: str) -> str:
    """A URL as it may be printed: no user, no password, no query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def without_password(url: str) -> str:
    """A URL without its user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def unreachable(url: str, why: object) -> EnvironmentLacks:
    """The last word after all tries."""
    return EnvironmentLacks(
        f"cannot download {shown(url)}: {why}",
        hint="what is in the cache needs no network; check the connection, HTTPS_PROXY, and that"
        " the configured index or mirror is up, then run the same command: it resumes",
    )


def _judge(url: str, response: BaseHTTPResponse) -> None:
    status = response.status
    if status in {200, 206, 416}:
        return
    response.release_conn()
    if status in {404, 410}:
        raise Gone(
            f"{shown(url)} is gone (HTTP {status})",
            hint="`recipec lock` pins what upstream has now; an older mirror or index that still"
            " has the file can be added to pip's, uv's or apt's configuration",
        )
    if status in {408, 425, 429} or status >= 500:
        asked = response.headers.get("Retry-After", "")
        raise Transient(f"HTTP {status}", wait=min(float(asked), 30.0) if asked.isdigit() else 0.0)
    if status in {401, 403, 407}:
        raise EnvironmentLacks(
            f"{shown(url)}: not allowed (HTTP {status})",
            hint="put user and password into the index URL of pip's or uv's configuration, or"
            " into ~/.netrc",
        )
    raise EnvironmentLacks(f"{shown(url)}: unexpected answer (HTTP {status})")


def _in_words(error: object) -> str:
    from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

    if isinstance(error, NameResolutionError):
        return "the host's name cannot be resolved"
    if isinstance(error, NewConnectionError):
        return "no connection"
    if isinstance(error, ConnectTimeoutError):
        return "the connection timed out"
    return type(error).__name__ if not str(error) else str(error).splitlines()[0]


def _proxy(scheme: str, host: str, default: str | None) -> str | None:
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or default
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _context(certificates: str | None, *, insecure: bool) -> ssl.SSLContext:
    import ssl

    named = certificates or os.environ.get("REQUESTS_CA_BUNDLE")
    if insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if named and os.path.isdir(named):  # noqa: PTH112 - a plain question
            return ssl.create_default_context(capath=named)
        return ssl.create_default_context(cafile=named)
    except (OSError, ssl.SSLError) as error:
        raise EnvironmentLacks(
            f"the CA certificates cannot be read: {named}",
            hint="correct SSL_CERT_FILE, REQUESTS_CA_BUNDLE or pip's `cert` option",
        ) from error


def _from_netrc(host: str) -> str | None:
    import netrc

    try:
        found = netrc.netrc(os.environ.get("NETRC") or None).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return f"{found[0]}:{found[2]}" if found else None
