"""Names, labels and volumes as Kubernetes takes them.

In: texts. Out: texts that it accepts, or None. Rules: the API conventions (RFC 1123 and RFC 1035
labels, label values), apimachinery's `validation` package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LABEL_VALUE = 63
"""Characters of a label's value at most."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_CLAIM = re.compile(r"pvc:([^/]+)(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A folder of a persistent volume claim."""

    name: str
    folder: str


def is_label(text: str) -> bool:
    """Whether it is a DNS label: what namespaces, services and jobs are named with."""
    return bool(_LABEL.fullmatch(text))


def is_subdomain(text: str) -> bool:
    """Whether it is a DNS subdomain: what claims and service accounts are named with."""
    return len(text) <= 253 and bool(_SUBDOMAIN.fullmatch(text))


def is_label_value(text: str) -> bool:
    """Whether it may be the value of a label."""
    return bool(_VALUE.fullmatch(text))


def claim_of(text: str) -> Claim | None:
    """The claim that `pvc:CLAIM/FOLDER` names; None if it is no such text."""
    found = _CLAIM.fullmatch(text)
    if not found or not is_subdomain(found[1]):
        return None
    folder = (found[2] or "").strip("/")
    parts = folder.split("/") if folder else []
    if any(part in {"", ".", ".."} or not part.isprintable() for part in parts):
        return None
    return Claim(name=found[1], folder=folder)


def service_name(text: str) -> str:
    """The text as the name of a service, which must begin with a letter (RFC 1035)."""
    return text if text[:1].isalpha() else f"r{text}"
