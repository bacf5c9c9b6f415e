"""What a service's refusal means, in words that say what to do.

In: a status of HTTP, the service's own code and words. Out: a `Refused`. Nothing of a request is
quoted, and what the environment keeps secret is taken out of the service's words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from recipec.clients.send.call import Refused
from recipec.errors import EnvironmentLacks, visible

LONGEST = 300
"""Characters of a service's words that are shown."""
_SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")
_USER = re.compile(r"(https?://)[^\s/@'\"]+@")


def safe(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A service's words on one line, without secrets and without the query of any address."""
    told = " ".join(_COLOUR.sub("", text).split())
    every = os.environ if environment is None else environment
    for name, value in every.items():
        if len(value) >= 8 and _SECRET.search(name):
            told = told.replace(value, "***")
    told = _BEARER.sub(r"\1 ***", _USER.sub(r"\1", _QUERY.sub(r"\1", told)))
    told = told if len(told) <= LONGEST else f"{told[: LONGEST - 3]}..."
    # In pieces: `visible` cuts what is longer than a line of a file.
    return "".join(visible(told[at : at + 100]) for at in range(0, len(told), 100))


def refused(
    service: str,
    *,
    status: int = 0,
    code: str = "",
    words: str = "",
    login: str = "",
    keys: Iterable[tuple[str, str]] = (),
) -> Refused:
    """A refusal. `keys` are patterns of the words, and the setting that each is about."""
    told = safe(f"{code}: {words}" if code and code not in words else words or code)
    told = told or f"status {status}"
    key = next((key for pattern, key in keys if re.search(pattern, f"{code} {words}")), "")
    crowded = re.search(r"(?i)quota|limit ?exceeded|capacity", f"{code} {words}")
    if status == 401:
        message, hint = f"{service} does not know who is asking: {told}", login
    elif status == 403:
        message, hint = (
            f"{service} does not allow it: {told}",
            f"ask for the right to do it; {login}",
        )
    elif status == 429 or crowded:
        message = f"{service} has no room for the job: {told}"
        hint = "raise the quota, name another machine type or region, or try again later"
    elif status == 404:
        message, hint = f"{service} does not find what the job names: {told}", ""
    elif status == 409:
        message, hint = f"{service} has something else of that name: {told}", "see what it is"
    elif status >= 500:
        message, hint = f"{service} fails: {told}", "try again later; the job is looked for first"
    else:
        message, hint = f"{service} refuses the job: {told}", ""
    hint = hint or "`recipec check-job` says what is known of it"
    return Refused(message, hint=hint, key=key, status=status)


def no_credentials(service: str, words: str, hint: str) -> EnvironmentLacks:
    """Nothing says who we are."""
    told = f": {safe(words)}" if words else ""
    return EnvironmentLacks(f"there are no credentials for {service}{told}", hint=hint)


def unreachable(service: str, endpoint: str, words: str) -> EnvironmentLacks:
    """No answer came. Whether the job was made is then not known."""
    at = f" at {endpoint}" if endpoint else ""
    return EnvironmentLacks(
        f"{service} cannot be reached{at}: {safe(words)}",
        hint="check the network, the proxy and the region; a job of this run is looked for before"
        " another is started",
    )


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what clients log, warn of and print out of our output: what matters is raised."""
    import logging
    import sys
    import warnings
    from contextlib import redirect_stdout

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
