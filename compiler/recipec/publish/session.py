"""HTTP with one registry: authentication, patience, and errors that a user can act on.

In: requests by path. Out: answers. It retries what a registry may recover from (429, 5xx, cut
connections) with growing waits, fetches bearer tokens, and keeps secrets and signed URLs out of
every message. Passwords and tokens go to no other host and never over plain HTTP, loopback apart.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NameResolutionError, SSLError

from recipec.errors import EnvironmentLacks
from recipec.publish.credentials import Credential
from recipec.publish.reference import is_loopback
from recipec.store import CHUNK

ATTEMPTS = 6
RECOVERABLE = frozenset({408, 429, 500, 502, 503, 504})
TIMEOUT = urllib3.Timeout(connect=15, read=300)


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


Response = urllib3.BaseHTTPResponse


class Session:
    """Requests to one registry for one repository; safe for several threads."""

    def __init__(
        self,
        registry: str,
        *,
        scopes: tuple[str, ...],
        credential: Credential | None,
        plain_http: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        scheme = "http" if plain_http or is_loopback(registry) else "https"
        self.registry = registry
        self.base = f"{scheme}://{registry}"
        self._scopes = scopes
        self._credential = credential
        self._sleep = sleep
        self._pool = _pool(self.base)
        self._lock = threading.Lock()
        self._authorization = ""

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Send a small request, again if need be; the answer, whatever its status.

        Raises EnvironmentLacks when the registry cannot be reached or stays broken.
        """
        for attempt in range(ATTEMPTS):
            try:
                answer = self.once(method, url, headers=headers, body=body)
                if answer.status not in RECOVERABLE:
                    return answer
                raise Cut(f"status {answer.status}", wait=retry_after(answer), status=answer.status)
            except Cut as cut:
                last = cut
                if attempt + 1 < ATTEMPTS:
                    self.pause(attempt, cut.wait)
        raise EnvironmentLacks(
            f"{self.registry} does not answer as it should: {last.why} ({method} {_shown(url)})",
            hint="try again later; what was uploaded already is not uploaded again",
        )

    def once(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
    ) -> Response:
        """Send one request, once more after fetching a token if the registry asks for one.

        Raises Cut when the connection fails, EnvironmentLacks when no retry can help.
        """
        place = urljoin(self.base, url)
        ours = urlsplit(place)[:2] == urlsplit(self.base)[:2]
        if urlsplit(place).scheme != "https" and not ours and not _local(place):
            raise EnvironmentLacks(
                f"{self.registry} sends the upload to {_shown(place)} without encryption",
                hint="the registry is set up wrongly; nothing was sent",
            )
        used = self._authorization if ours else ""
        answer = self._send(method, place, headers, body, used)
        if answer.status == 401 and ours:
            self._authenticate(answer.headers.get("WWW-Authenticate", ""), used)
            if not isinstance(body, bytes | None):
                body.rewind()
            answer = self._send(method, place, headers, body, self._authorization)
        return answer

    def pause(self, attempt: int, at_least: float = 0.0) -> None:
        """Wait before attempt number `attempt` + 2: longer each time, never in step."""
        growing = 0.25 * 2**attempt * (0.5 + random.random())
        self._sleep(min(60.0, max(growing, at_least)))

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | Body | None,
        authorization: str,
    ) -> Response:
        given = {"User-Agent": "recipec", **(headers or {})}
        if authorization:
            given["Authorization"] = authorization
        try:
            return self._pool.request(
                method,
                url,
                headers=given,
                body=cast(Any, body),  # anything with read(), says urllib3
                redirect=False,
                retries=False,
                timeout=TIMEOUT,
            )
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
        except (HTTPError, OSError) as error:
            raise Cut(_reason(error)) from None

    def _authenticate(self, challenge: str, used: str) -> None:
        """Find out how to authorize; raises EnvironmentLacks if that cannot be."""
        with self._lock:
            if self._authorization != used:
                return  # another thread was here first
            kind, _, rest = challenge.partition(" ")
            fields = {k.lower(): v for k, v in re.findall(r'(\w+)="([^"]*)"', rest)}
            if kind.lower() == "bearer" and fields.get("realm"):
                self._authorization = f"Bearer {self._token(fields)}"
            elif kind.lower() == "basic" and self._credential and not used:
                self._authorization = self._credential.basic
            else:
                raise denied(self.registry, known=self._credential is not None)

    def _token(self, fields: Mapping[str, str]) -> str:
        """A bearer token (distribution specification, "Token Authentication")."""
        realm, known = fields["realm"], self._credential
        if urlsplit(realm).scheme != "https" and not _local(realm):
            raise EnvironmentLacks(
                f"{self.registry} asks for credentials to be sent without encryption",
                hint="the registry is set up wrongly; nothing was sent",
            )
        asked = [("scope", scope) for scope in self._scopes]
        if fields.get("service"):
            asked.insert(0, ("service", fields["service"]))
        for attempt in range(ATTEMPTS):
            try:
                answer = self._ask(realm, asked, known)
                if answer.status not in RECOVERABLE:
                    break
                wait = retry_after(answer)
            except Cut as cut:
                answer, wait = None, cut.wait
            self.pause(attempt, wait)
        if answer is None or answer.status in RECOVERABLE:
            raise EnvironmentLacks(
                f"{urlsplit(realm).netloc}, which gives tokens for {self.registry}, does not answer"
            )
        try:
            about = json.loads(answer.data)
            token = about.get("token") or about.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if answer.status != 200 or not token:
            raise denied(self.registry, known=known is not None)
        return str(token)

    def _ask(self, realm: str, asked: list[tuple[str, str]], known: Credential | None) -> Response:
        if known is not None and known.token:
            form = [("grant_type", "refresh_token"), ("refresh_token", known.token)]
            form += [("client_id", "recipec"), *((k, v) for k, v in asked if k == "service")]
            form.append(("scope", " ".join(v for k, v in asked if k == "scope")))
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._send("POST", realm, kind, urlencode(form).encode(), "")
        joint = "&" if "?" in realm else "?"
        basic = known.basic if known is not None else ""
        return self._send("GET", f"{realm}{joint}{urlencode(asked)}", None, None, basic)


def denied(registry: str, *, known: bool) -> EnvironmentLacks:
    """The registry does not let us in."""
    if known:
        return EnvironmentLacks(
            f"{registry} does not accept the stored credentials for this",
            hint=f"log in again with `docker login {registry}`, as someone who may push here",
        )
    return EnvironmentLacks(
        f"{registry} wants credentials and there are none", hint=f"`docker login {registry}`"
    )


def refusal(answer: Response, doing: str, registry: str) -> EnvironmentLacks:
    """An answer with an unwelcome status as an error, with the registry's own words."""
    if answer.status in {401, 403}:
        return denied(registry, known=True)
    said = f"status {answer.status}"
    try:
        first = json.loads(answer.data)["errors"][0]
        said = f"{first.get('code', '')} {first.get('message', '')}".strip()[:200] or said
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    return EnvironmentLacks(
        f"{registry} refuses {doing}: {said}", hint="ask whoever runs the registry"
    )


def retry_after(answer: Response) -> float:
    """Seconds that the registry asks us to wait, or 0."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _pool(base: str) -> urllib3.PoolManager:
    from urllib.request import getproxies, proxy_bypass

    host, scheme = urlsplit(base).hostname or "", urlsplit(base).scheme
    options: dict[str, Any] = {"maxsize": 8, "blocksize": CHUNK}
    proxy = getproxies().get(scheme)
    if proxy and not _local(base) and not proxy_bypass(host):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


def _local(url: str) -> bool:
    return is_loopback(urlsplit(url).netloc)


def _shown(url: str) -> str:
    """A URL without its query, which may be signed."""
    return url.partition("?")[0]


def _reason(error: Exception) -> str:
    """What went wrong in a few words, without addresses of objects or URLs."""
    inner = error.args[-1] if error.args else error
    if isinstance(inner, Exception) and inner is not error:
        return _reason(inner)
    text = getattr(error, "strerror", None) or str(inner).rpartition(">: ")[2]
    return text.strip() or type(error).__name__
