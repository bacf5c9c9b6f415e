"""What a registry's refusal means, in words that say what to do.

In: an answer with an unwelcome status. Out: an EnvironmentLacks with the registry's own words and,
where registries.toml knows the registry, its own way out. Nothing of a request is quoted.
"""

from __future__ import annotations

import json

from recipec.catalog.registries import quirks_of
from recipec.errors import EnvironmentLacks, visible
from recipec.publish.wire import Answer

_MISSING = frozenset({"NAME_UNKNOWN", "NAME_INVALID"})


def denied(registry: str, *, known: bool, said: str = "") -> EnvironmentLacks:
    """The registry does not let us in."""
    quirks = quirks_of(registry)
    login = quirks.login_at(registry)
    helper = f", or install docker-credential-{quirks.helper}" if quirks.helper else ""
    if known:
        words = f" ({said})" if said else ""
        return EnvironmentLacks(
            f"{registry} does not accept the stored credentials for this{words}",
            hint=f"log in again with {login}{helper}, as someone who may do this; {quirks.allowed}"
            if quirks.allowed
            else f"log in again with {login}{helper}, as someone who may do this",
        )
    return EnvironmentLacks(
        f"{registry} wants credentials and there are none", hint=f"{login}{helper}"
    )


def refusal(answer: Answer, doing: str, registry: str, *, known: bool = True) -> EnvironmentLacks:
    """An answer with an unwelcome status as an error, with the registry's own words.

    `known` says whether credentials were sent; without any, a 403 means that some are wanted.
    """
    code, words = said(answer)
    quirks = quirks_of(registry)
    if answer.status in {401, 403}:
        return denied(registry, known=known, said=words)
    if quirks.missing and (answer.status == 404 or code in _MISSING):
        hint = quirks.missing
    elif answer.status == 415 or code in {"MANIFEST_INVALID", "UNSUPPORTED"}:
        hint = "it may not take this kind of manifest: try with or without --schema2"
    elif answer.status == 429:
        hint = "try again later; what was moved already is not moved again"
    else:
        hint = "ask whoever runs the registry"
    return EnvironmentLacks(f"{registry} refuses {doing}: {words}", hint=hint)


def said(answer: Answer) -> tuple[str, str]:
    """The first error code of an answer, and its words (distribution specification, "Errors")."""
    try:
        first = json.loads(answer.data)["errors"][0]
        code = str(first.get("code", ""))
        words = visible(f"{code} {first.get('message', '')}".strip())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        code, words = "", ""
    return code, words or f"status {answer.status}"
