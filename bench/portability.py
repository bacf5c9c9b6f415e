"""Which operations give the same bytes on another CPU, setting by setting, and what they cost.

    python -m bench.portability [--results FOLDER] [--cpu Haswell]

In: this CPU, and another one emulated by `qemu-x86_64` (Debian's qemu-user). Each setting is a
process of `bench.operations` on either, 4 to 8 minutes for an emulated one; what FOLDER holds
already is not run again. Out: a Markdown table. Times are this CPU's: an emulator's say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
KERNELS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
PHASES = ("forward", "backward", "error")
SECONDS = "0.02"
"""CPU time for which each case is measured."""
SHOWN = 3
"""Sizes that a cell of the table names."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Variables that choose kernels, and threads."""

    name: str
    variables: Mapping[str, str]
    threads: int = 1
    emulated: bool = True


SETTINGS = (
    Setting(name="COMPATIBLE", variables={**KERNELS, "MKL_CBWR": "COMPATIBLE"}),
    Setting(
        name="COMPATIBLE, 2 threads",
        variables={**KERNELS, "MKL_CBWR": "COMPATIBLE"},
        threads=2,
    ),
    Setting(name="AVX2,STRICT", variables={**KERNELS, "MKL_CBWR": "AVX2,STRICT"}),
    Setting(name="AVX2", variables={**KERNELS, "MKL_CBWR": "AVX2"}),
    Setting(name="MKL's choice", variables=KERNELS),
    Setting(name="nothing set", variables={}, emulated=False),
)
"""`MKL_CBWR`, beside ATen and oneDNN held to AVX2; the last one's bytes are known to differ."""


@dataclass(kw_only=True)
class Operation:
    """What one operation did under one setting."""

    compared: int = 0
    differing: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """Of all its sizes, one call each."""


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, help="a folder that keeps what was measured")
    parser.add_argument("--cpu", default="Haswell", help="the CPU that is emulated")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder: Path = options.results or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        table = {s.name: compared(s, options.cpu, folder) for s in SETTINGS}
    print("\n".join(lines(table)))


def compared(setting: Setting, cpu: str, folder: Path) -> dict[str, Operation]:
    """Every operation under a setting: this CPU beside the emulated one."""
    stem = setting.name.replace(" ", "_").replace(",", "_").replace("'", "")
    timed = ["--seconds", SECONDS] if setting.threads == 1 else []  # two would count waiting too
    own = measured(setting, folder / f"{stem}.jsonl", timed)
    other = None
    if setting.emulated:
        emulator = shutil.which("qemu-x86_64")
        if emulator is None:
            raise SystemExit("another CPU is emulated by qemu-x86_64: install qemu-user")
        other = measured(setting, folder / f"{stem}-{cpu}.jsonl", [], [emulator, "-cpu", cpu])
    return joined(own, other)


def measured(
    setting: Setting, path: Path, options: Sequence[str], before: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The rows of one process, from `path` if they were measured already."""
    if not path.is_file():
        print(f"{path.stem} ...", file=sys.stderr, flush=True)
        # Started by its real name, Python would not see the packages of its virtual environment.
        packages = [p for p in sys.path if p.endswith("site-packages")]
        environment = {
            "HOME": os.environ.get("HOME", "/"),
            "PATH": os.environ["PATH"],
            "MKL_NUM_THREADS": str(setting.threads),
            "OMP_DYNAMIC": "FALSE",
            "OMP_NUM_THREADS": str(setting.threads),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *packages]),
            **setting.variables,
        }
        command = [*before, os.path.realpath(sys.executable), "-m", "bench.operations"]
        command += ["--threads", str(setting.threads), *options]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"{path.stem} failed:\n{done.stderr[-3000:]}")
        path.write_text(done.stdout)
    return [json.loads(line) for line in path.read_text().splitlines()]


def joined(
    own: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]] | None
) -> dict[str, Operation]:
    """Operations by name. Raises KeyError where the other CPU did not run a case."""
    found: dict[str, Operation] = {}
    beside = None if other is None else {(row["name"], row["size"]): row for row in other}
    for row in own:
        operation = found.setdefault(row["name"], Operation())
        operation.seconds += row.get("seconds", 0.0)
        if beside is None:
            continue
        same = beside[row["name"], row["size"]]
        for phase in (p for p in PHASES if p in row or p in same):
            operation.compared += 1
            if row.get(phase) != same.get(phase):
                operation.differing.append(f"{row['size']} {phase}")
    return found


def lines(table: Mapping[str, Mapping[str, Operation]]) -> Iterator[str]:
    """A Markdown table: a row per operation, a column per setting."""
    yield "| operation | results | " + " | ".join(table) + " |"
    yield "| --- " * (len(table) + 2) + "|"
    first = next(iter(table.values()))
    for name in first:
        row = [operations[name] for operations in table.values()]
        fastest = min((o.seconds for o in row if o.seconds), default=0.0)
        cells = (cell(operation, fastest) for operation in row)
        yield f"| {name} | {first[name].compared} | " + " | ".join(cells) + " |"


def cell(operation: Operation, fastest: float) -> str:
    """Whether the bytes are equal, or how many results differ and where; the relative speed."""
    count = len(operation.differing)
    sizes = list(dict.fromkeys(d.rsplit(" ", 1)[0] for d in operation.differing))
    more = ", ..." if len(sizes) > SHOWN else ""
    verdict = "=" if operation.compared else "not run"
    if count:
        verdict = f"**{count} of {operation.compared}** ({'; '.join(sizes[:SHOWN])}{more})"
    if not operation.seconds:
        return verdict
    return f"{verdict}, {fastest / operation.seconds:.2f}"


if __name__ == "__main__":
    main()
