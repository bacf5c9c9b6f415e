"""A network and a registry that fail at random, the same way for the same seed.

In: a seed and a rate. Out: for each request a `Fault` or none, for a `Proxy`. The choice depends on
the seed, the request and how often it came, not on the order in which threads come.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from recipec.store import sha256
from tests.support.faults import Fault

OTHER = sha256(b"something else")


class Chaos:
    """Spoils a share `rate` of all requests, a request at most `most` times.

    `lies` adds answers that name another digest, which must end a push or a pull.
    """

    def __init__(self, seed: int, *, rate: float, lies: bool = False, most: int = 3) -> None:
        self._seed = seed
        self._rate = rate
        self._lies = lies
        self._most = most
        self._came: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()

    def __call__(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        known = re.sub(r"uploads/[0-9a-f-]{36}\?_state=[^&]*", "uploads/x", path)
        size = int(headers.get("Content-Length") or 0)
        key = f"{method} {known} {headers.get('Content-Range', '')} {size}"
        self._came[key] += 1
        chance = random.Random(f"{self._seed} {key} {self._came[key]}")
        if self._came[key] > self._most or chance.random() >= self._rate:
            return None
        kinds = ["status", "busy", "cut", "reset", "lost", "stall"]
        kinds += ["flip"] if size else []
        kinds += ["short"] if method == "GET" else []
        kinds += ["lie"] * 2 if self._lies and method in {"HEAD", "PUT", "GET"} else []
        kind = chance.choice(kinds)
        self.kinds[kind] += 1
        return _fault(kind, chance, size)


def _fault(kind: str, chance: random.Random, size: int) -> Fault:
    place = chance.randrange(size + 1)
    kinds: dict[str, dict[str, Any]] = {
        "status": {"status": chance.choice([500, 502, 503, 504])},
        "busy": {"status": 429, "headers": {"Retry-After": "1"}},
        "cut": {"cut_after": place},
        "reset": {"cut_after": place, "reset": True},
        "lost": {"cut_after": 0, "forward_first": True, "reset": chance.random() < 0.5},
        "stall": {"stall": chance.choice([0.01, 0.05])},
        "flip": {"flip": chance.random()},
        "short": {"short": chance.random()},
        "lie": {"headers": {"Docker-Content-Digest": OTHER}},
    }
    return Fault(method="", path="", **kinds[kind])
