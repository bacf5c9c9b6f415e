"""Checks every input's bytes before anything is trained.

In: the root folder and the inputs of run.json. Out: nothing, or HashMismatch. It writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from recipec_runtime.contract import Input
from recipec_runtime.errors import EnvironmentLacks, HashMismatch


def verify(root: Path, inputs: Sequence[Input]) -> None:
    """Read every input. Raises HashMismatch for the first that is missing or differs."""
    for entry in inputs:
        check_file(root / entry.path, entry.path, entry.sha256)


def check_file(path: Path, name: str, expected: str) -> None:
    """Raise HashMismatch unless the file at `path` has the digest `expected`."""
    hint = "nothing was written; put the file back, or build the recipe again to accept it"
    try:
        found = digest_of_file(path)
    except FileNotFoundError:
        found = "no such file"
    except OSError as error:
        raise EnvironmentLacks(
            f"cannot read {name}: {error.strerror}", hint="check the file's owner and mode"
        ) from error
    if found != expected:
        raise HashMismatch(
            f"{name} is not the file that the recipe was compiled for\n"
            f"  expected {expected}\n"
            f"  found    {found}",
            hint=hint,
        )


def digest_of_file(path: Path) -> str:
    """`sha256:` and 64 hex digits of the file's bytes."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_inputs(inputs: Sequence[Input]) -> str:
    """One digest over the paths and digests of all inputs."""
    plain = {entry.path: entry.sha256 for entry in inputs}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()
