"""HTTP with one registry: authentication, patience, and errors that a user can act on.

In: requests by path. Out: answers. It retries what a registry may recover from (429, 5xx, cut
connections) with growing waits, follows redirects of what is read, and keeps secrets and signed
URLs out of every message. Passwords and tokens go to no other host, and over plain HTTP only on
loopback or where the user asked for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import urllib3

from recipec.catalog.registries import quirks_of
from recipec.errors import EnvironmentLacks
from recipec.publish.credentials import Credential
from recipec.publish.reference import is_loopback
from recipec.publish.refusals import denied, refusal
from recipec.publish.tokens import Tokens, challenge_of
from recipec.publish.wire import Answer, Body, Cut, Wire, is_local, retry_after, shown

ATTEMPTS = 6
RECOVERABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
FIRST_WAIT, LONGEST_WAIT = 0.25, 60.0
"""Seconds; each wait is twice the one before."""
PATIENCE = 300.0
"""Seconds: a registry that asks for a longer wait is left alone instead."""
HOPS = 5


class Session:
    """Requests to one registry for one repository; safe for several threads."""

    def __init__(
        self,
        registry: str,
        *,
        scopes: tuple[str, ...],
        credential: Credential | None,
        plain_http: bool = False,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        quirks = quirks_of(registry)
        host = quirks.api or registry
        scheme = "http" if plain_http or is_loopback(host) else "https"
        self.registry = registry
        self.base = f"{scheme}://{host}"
        self.wire = Wire(self.base)
        self._credential = credential
        self._sleep = sleep or self.wire.stopped.wait
        self._tokens = Tokens(registry, self.wire, scopes, credential, self.patiently, self._guard)
        self._lock = threading.Lock()
        self._authorization = ""

    @property
    def has_token(self) -> bool:
        """Whether the registry gave us a bearer token."""
        return self._authorization.startswith("Bearer ")

    def stop(self) -> None:
        """End every request under way; none begins any more."""
        self.wire.stop()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send a small request, again if need be; the answer, whatever its status.

        Raises EnvironmentLacks when the registry cannot be reached or stays broken.
        """
        return self.patiently(
            lambda: self.once(method, url, headers=headers, body=body), f"{method} {shown(url)}"
        )

    def patiently(self, ask: Callable[[], Answer], doing: str) -> Answer:
        """What `ask` gives, asked again while it is cut or gives a status that may pass."""
        for attempt in range(ATTEMPTS):
            try:
                answer = ask()
                if answer.status not in RECOVERABLE:
                    return answer
                raise Cut(f"status {answer.status}", wait=retry_after(answer), status=answer.status)
            except Cut as cut:
                last = cut
                if attempt + 1 < ATTEMPTS:
                    self.pause(attempt, cut.wait)
        raise EnvironmentLacks(
            f"{self.registry} does not answer as it should: {last.why} ({doing})",
            hint="try again later; what was moved already is not moved again",
        )

    def once(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
    ) -> Answer:
        """Send one request, once more after fetching a token if the registry asks for one.

        GET and HEAD follow redirects. Raises Cut when the connection fails, EnvironmentLacks when
        no retry can help.
        """
        place = urljoin(self.base, url)
        for _ in range(HOPS):
            answer = self._authorized(method, place, headers, body)
            if answer.status not in REDIRECTS or method not in {"GET", "HEAD"}:
                return answer
            place = self._onward(answer.headers, place)
        raise EnvironmentLacks(f"{self.registry} redirects without end ({shown(place)})")

    @contextmanager
    def stream(self, url: str, *, start: int = 0) -> Iterator[urllib3.BaseHTTPResponse]:
        """GET a blob from byte `start` on; the answer, whose body is still to be read.

        Raises as `once` does. A status that may pass is a Cut.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        place = urljoin(self.base, url)
        for _ in range(HOPS):
            for used in (self._for(place), None):
                if used is None:
                    used = self._for(place)
                authorization = {"Authorization": used} if used else {}
                self._guard(place)
                with self.wire.stream("GET", place, {**headers, **authorization}) as response:
                    if response.status == 401 and self._ours(place):
                        self._authenticate(response.headers.get("WWW-Authenticate", ""), used)
                        continue
                    if response.status in REDIRECTS:
                        place = self._onward(response.headers, place)
                        break
                    yield response
                    return
            else:
                raise denied(self.registry, known=self._credential is not None)
        raise EnvironmentLacks(f"{self.registry} redirects without end ({shown(place)})")

    def pause(self, attempt: int, at_least: float = 0.0) -> None:
        """Wait before attempt number `attempt` + 2: twice as long each time, with no chance in it.

        Raises EnvironmentLacks if the registry asks for more patience than anybody has.
        """
        if at_least > PATIENCE:
            raise EnvironmentLacks(
                f"{self.registry} asks to be left alone for {at_least:.0f} seconds",
                hint="try again then; what was moved already is not moved again",
            )
        self._sleep(max(min(LONGEST_WAIT, FIRST_WAIT * 2**attempt), at_least))

    def location(self, answer: Answer) -> str:
        """Where an answer points, in full; empty if it points nowhere."""
        found = answer.headers.get("Location", "")
        return urljoin(answer.url, found) if found else ""

    def refusal(self, answer: Answer, doing: str) -> EnvironmentLacks:
        """An answer with an unwelcome status as an error."""
        return refusal(answer, doing, self.registry, known=self._credential is not None)

    def _ours(self, place: str) -> bool:
        return urlsplit(place)[:2] == urlsplit(self.base)[:2]

    def _for(self, place: str) -> str:
        """The Authorization header for this place: nothing for any other host."""
        return self._authorization if self._ours(place) else ""

    def _onward(self, headers: Mapping[str, str], place: str) -> str:
        found = headers.get("Location", "")
        if not found:
            raise EnvironmentLacks(f"{self.registry} redirects to nowhere ({shown(place)})")
        return urljoin(place, found)

    def _guard(self, place: str) -> None:
        """Nothing goes unencrypted to a host that the user did not name, but from loopback."""
        parts = urlsplit(place)
        harmless = is_local(place) and is_local(self.base)
        if parts.scheme == "https" or (parts.scheme == "http" and (self._ours(place) or harmless)):
            return
        raise EnvironmentLacks(
            f"{self.registry} points to {shown(place)}, which is not encrypted",
            hint="the registry is set up wrongly; nothing was sent",
        )

    def _authorized(
        self, method: str, place: str, headers: Mapping[str, str] | None, body: bytes | Body | None
    ) -> Answer:
        self._guard(place)
        used = self._for(place)
        answer = self._send(method, place, headers, body, used)
        if answer.status == 401 and self._ours(place):
            self._authenticate(answer.headers.get("WWW-Authenticate", ""), used)
            if not isinstance(body, bytes | None):
                body.rewind()
            answer = self._send(method, place, headers, body, self._authorization)
        return answer

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | Body | None,
        authorization: str,
    ) -> Answer:
        given = dict(headers or {})
        if authorization:
            given["Authorization"] = authorization
        return self.wire.send(method, url, given, body)

    def _authenticate(self, header: str, used: str) -> None:
        """Find out how to authorize; raises EnvironmentLacks if that cannot be."""
        with self._lock:
            if self._authorization != used:
                return  # another thread was here first
            kind, fields = challenge_of(header)
            if kind == "bearer" and fields.get("realm"):
                self._authorization = f"Bearer {self._tokens.fetch(fields)}"
            elif kind == "basic" and self._credential and not used:
                self._authorization = self._credential.basic
            else:
                raise denied(self.registry, known=self._credential is not None)


class Reached:
    """How far one blob's transfer got, told as progress, which never goes back with it."""

    def __init__(self, session: Session, advance: Callable[[int], None]) -> None:
        self._session = session
        self._advance = advance
        self._told = 0

    def __call__(self, reached: int) -> None:
        """The first `reached` bytes are done. Raises EnvironmentLacks if the session is stopped."""
        if self._session.wire.stopped.is_set():
            raise EnvironmentLacks("stopped")
        if reached > self._told:
            self._advance(reached - self._told)
            self._told = reached
