"""What `image.base` may be: the packages of a Debian release, or an image of a registry.

In: the value. Out: which of the two it is, and its digest. It asks nobody.
"""

from __future__ import annotations

MUST = "an image of a registry must be named by digest: a tag can be moved"
"""Said where one is named by tag alone. That is no rule of the language: locking, it can be told
which digest the tag has."""


def in_registry(base: str) -> bool:
    """Whether the base is an image of a registry."""
    return "/" in base


def digest_in(base: str) -> str:
    """The digest by which an image of a registry is named; empty if it is named by tag alone."""
    return base.partition("@")[2]
