"""Bearer tokens: what a registry's token service gives for a user's credential.

In: the fields of a `WWW-Authenticate` challenge. Out: a token. Source: the distribution project's
"Token Authentication Specification". A credential goes to the service over HTTPS, and otherwise
only where the session lets it; neither it nor the token is part of any message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from recipec.publish.credentials import Credential
from recipec.publish.refusals import denied
from recipec.publish.wire import Answer, Wire, shown

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_FIELD = re.compile(r'([A-Za-z_]+)=(?:"([^"]*)"|([^\s,"]+))')


def challenge_of(header: str) -> tuple[str, dict[str, str]]:
    """The scheme of a challenge in small letters, and its fields."""
    kind, _, rest = header.strip().partition(" ")
    return kind.lower(), {key.lower(): a or b for key, a, b in _FIELD.findall(rest)}


class Tokens:
    """Fetches tokens for one registry. `patiently` is how a request is repeated, and `guard` raises
    for a place to which nothing may be sent."""

    def __init__(
        self,
        registry: str,
        wire: Wire,
        scopes: tuple[str, ...],
        credential: Credential | None,
        patiently: Callable[[Callable[[], Answer], str], Answer],
        guard: Callable[[str], None],
    ) -> None:
        self._registry = registry
        self._wire = wire
        self._scopes = scopes
        self._credential = credential
        self._patiently = patiently
        self._guard = guard

    def fetch(self, fields: Mapping[str, str]) -> str:
        """A token for the scopes; for the first alone if a service refuses the rest.

        Raises EnvironmentLacks if there is none to be had.
        """
        realm = fields["realm"]
        self._guard(realm)
        for scopes in dict.fromkeys((self._scopes, self._scopes[:1])):
            answer = self._patiently(
                lambda scopes=scopes: self._ask(realm, fields.get("service", ""), scopes),  # type: ignore[misc]
                f"GET {shown(realm)}",
            )
            token = _token(answer)
            if token:
                return token
        raise denied(self._registry, known=self._credential is not None)

    def _ask(self, realm: str, service: str, scopes: tuple[str, ...]) -> Answer:
        known = self._credential
        named = [("service", service)] if service else []
        if known is not None and known.token:
            form = [("grant_type", "refresh_token"), ("refresh_token", known.token)]
            form += [("client_id", "recipec"), *named, ("scope", " ".join(scopes))]
            return self._wire.send("POST", realm, _FORM, urlencode(form).encode())
        joint = "&" if "?" in realm else "?"
        asked = urlencode([*named, *(("scope", scope) for scope in scopes)])
        headers = {"Authorization": known.basic} if known is not None else {}
        return self._wire.send("GET", f"{realm}{joint}{asked}", headers)


def _token(answer: Answer) -> str:
    if answer.status != 200:
        return ""
    try:
        about = json.loads(answer.data)
        found = about.get("token") or about.get("access_token")
    except (ValueError, AttributeError):
        return ""
    # A header cannot hold anything else, and an error would quote it.
    return found if isinstance(found, str) and re.fullmatch(r"[!-~]+", found) else ""
