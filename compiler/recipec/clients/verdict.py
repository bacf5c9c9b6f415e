"""What a check of a job document comes to, and what it stands on.

In: a file's bytes. Out: its documents as plain values; a `Verdict`; or EnvironmentLacks with the
extra that brings the client. Clients are imported here alone, and only when they are asked for.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from recipec.errors import EnvironmentLacks

_BY_DIGEST = re.compile(r"[^@\s]+/[^@\s]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a client said of a document, and what we say of what it lets through."""

    validator: str
    """The client and its version."""
    faults: tuple[str, ...]
    """What is wrong, each `PLACE: WHAT`; empty for a good document."""


def client(module: str, package: str, extra: str, *, does: str = "checks such documents") -> Any:
    """A service's client. Raises EnvironmentLacks if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise EnvironmentLacks(
            f"{package}, which {does}, is not installed",
            hint=f"pip install 'recipec[{extra}]'",
        ) from error


def version(package: str) -> str:
    """A client with its version, such as `botocore 1.44.5`."""
    return f"{package} {importlib.metadata.version(package)}"


def documents(data: bytes) -> tuple[list[Any], list[str]]:
    """The YAML or JSON documents in a file's bytes; and what is wrong if there are none."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return [], ["the file is not UTF-8"]
    try:
        found = [json.loads(text)] if text.lstrip().startswith(("{", "[")) else list(_yaml(text))
    except (ValueError, RecursionError) as error:
        return [], [f"the file is neither JSON nor YAML: {error}"]
    wrong = [f"document {n + 1} is no mapping" for n, one in enumerate(found) if not _is_map(one)]
    if not found:
        wrong = ["the file is empty"]
    return found, wrong


def _yaml(text: str) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        yield from YAML(typ="safe", pure=True).load_all(text)
    except YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _is_map(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def by_digest(place: str, image: object) -> Iterable[str]:
    """A fault unless an image is named by its digest."""
    if not isinstance(image, str) or not _BY_DIGEST.fullmatch(image):
        yield f"{place}: {image!r} is not REGISTRY/NAME@sha256:..., so its bytes are not pinned"


def at(document: Any, *path: str | int) -> Any:
    """A value of a document by its path; None where there is none."""
    for part in path:
        if isinstance(part, str) and isinstance(document, dict):
            document = document.get(part)
        elif isinstance(part, int) and isinstance(document, list) and part < len(document):
            document = document[part]
        else:
            return None
    return document


def lost(given: Any, back: Any, place: str = "") -> Iterator[str]:
    """What of a document a client has dropped: keys that it does not know."""
    if isinstance(given, dict) and isinstance(back, dict):
        for key, value in given.items():
            here = f"{place}.{key}".lstrip(".")
            if key not in back:
                yield f"{here}: unknown key"
            else:
                yield from lost(value, back[key], here)
    elif isinstance(given, list) and isinstance(back, list):
        for index, (one, other) in enumerate(zip(given, back, strict=False)):
            yield from lost(one, other, f"{place}[{index}]")
