"""The password of a key: from COSIGN_PASSWORD, or asked for where somebody sits at the terminal."""

from __future__ import annotations

import os
import sys

from recipec.errors import UsageError

VARIABLE = "COSIGN_PASSWORD"


def key_password() -> bytes:
    """The password of a key that is there. Raises UsageError if it cannot be had."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return given.encode()
    if not sys.stdin.isatty():
        raise UsageError(
            "the key is encrypted and there is nobody to ask for its password",
            hint=f"set {VARIABLE}, empty for a key without one",
        )
    return _ask("password of the key: ")


def new_password() -> bytes:
    """The password for a new key, typed twice. Raises UsageError if the two differ."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return given.encode()
    if not sys.stdin.isatty():
        raise UsageError(
            "a new key wants a password and there is nobody to ask",
            hint=f"set {VARIABLE}, empty for a key without one",
        )
    first = _ask("password for the new key (empty for none): ")
    if first != _ask("the same again: "):
        raise UsageError("the two passwords differ", hint="try again")
    return first


def _ask(prompt: str) -> bytes:
    import getpass

    return getpass.getpass(prompt).encode()
