"""Copies a finished run's files to where the platform collects them.

In: the output folder and another, such as a bucket that is mounted as a folder. Out: the same files
there, the receipt last, so that a folder with a receipt is whole. Each file is written from its
beginning to its end and nothing is renamed: object stores can do no more.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from recipec_runtime import files
from recipec_runtime.errors import EnvironmentLacks
from recipec_runtime.outputs import RECEIPT


def collect(output: Path, target: Path) -> None:
    """Copy all but checkpoints and work files. Raises EnvironmentLacks if it cannot."""
    names = sorted(
        path.relative_to(output)
        for path in output.rglob("*")
        if path.is_file() and not _left_out(path.relative_to(output))
    )
    with files.disk(target):
        (target / RECEIPT).unlink(missing_ok=True)
        if (target / "model").is_dir():
            shutil.rmtree(target / "model")
        for name in sorted(names, key=lambda name: (name.as_posix() == RECEIPT, name)):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(output / name, target / name)


def check(target: Path, hint: str, *, machine: int = 0) -> None:
    """Raise EnvironmentLacks, before anything is trained, if nothing can be written there.

    Machines that share the folder try it under their own numbers.
    """
    probe = target / f".recipec-{machine}"
    try:
        target.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise EnvironmentLacks(
            f"user {os.geteuid()} cannot write to {target}: {error.strerror}", hint=hint
        ) from error


def _left_out(name: Path) -> bool:
    return name.parts[0] == "checkpoint" or any(part.startswith(".") for part in name.parts)
