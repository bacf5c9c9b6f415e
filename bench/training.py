"""The emitted script beside transformers' Trainer and TRL's SFTTrainer: steps/s and peak memory.

    python -m bench.training [--quick] [--rounds N] [--only tiny|smollm2] [--json]

In one run, on the same model, rows in the same order, batches, lengths, optimizer, schedule, dtype,
threads and CPU kernels; every contestant trains in a process of its own, and they take turns. A
row's speed counts from the end of the first step to the end of the last. The emitted script is
compiled by the real passes, for `reproducibility: bitwise`, whose kernels are those that the others
use; a last row has the portable one. Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.peers.job import Job, Result
from bench.workloads import SMOLLM2, TINY, Placed, Workload, place

ROOT = Path(__file__).parent.parent
OURS, PORTABLE = "recipec", "recipec, portable"
CONVERT = """
import sys
from pathlib import Path
from recipec_runtime.gguf import convert
convert(*map(Path, sys.argv[1:]))
"""
PEERS = {"Trainer": "bench.peers.trainer", "SFTTrainer": "bench.peers.sft"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One training. Speeds leave out the first step."""

    steps_per_second: float
    cpu_seconds_per_step: float
    """Of this process alone: what else runs on the machine hardly changes it."""
    seconds_to_first_step: float
    """From the process's start to the end of its first step."""
    peak_bytes: int
    """The largest resident set, as the kernel counted it for the whole process."""
    loss: float
    """The mean of all steps: equal, up to rounding, where settings are equal."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contestant's samples, a round each."""

    name: str
    samples: tuple[Sample, ...]

    def median(self, name: str) -> float:
        """The median of one number over the rounds."""
        return float(statistics.median(getattr(sample, name) for sample in self.samples))


def main() -> None:
    """Measure every workload, and print a table of each or one JSON document."""
    options = _options()
    documents = []
    with tempfile.TemporaryDirectory() as name:
        for workload in (TINY, SMOLLM2):
            if options.only not in (None, workload.name):
                continue
            if options.quick:
                workload = replace(workload, steps=workload.quick_steps)
            rows = race(
                workload, Path(name) / workload.name, 1 if options.quick else options.rounds
            )
            if not options.json:
                show(workload, rows)
            documents.append(_document(workload, rows))
    if options.json:
        print(json.dumps(documents, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round of a few steps")
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each contestant")
    parser.add_argument("--only", choices=(TINY.name, SMOLLM2.name), help="one workload")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args()


def race(workload: Workload, work: Path, rounds: int) -> list[Row]:
    """Let the contestants take turns; one row for each."""
    placed = {
        OURS: place(workload, work / "bitwise", reproducibility="bitwise"),
        PORTABLE: place(workload, work / "portable", reproducibility="portable"),
    }
    job = peers_job(placed[OURS], work)
    order = (OURS, *PEERS, PORTABLE)
    samples: dict[str, list[Sample]] = {name: [] for name in order}
    for number in range(rounds):
        for name in order:
            print(f"{workload.name}, round {number + 1}: {name}", file=sys.stderr, flush=True)
            output = work / "output" / f"{name}-{number}"
            output.mkdir(parents=True)
            if name in PEERS:
                sample = _peer(PEERS[name], replace(job, output=str(output)), placed[OURS])
            else:
                sample = _ours(placed[name], output)
            samples[name].append(sample)
            said = f"{sample.steps_per_second:.2f} steps/s, peak {sample.peak_bytes / 1e6:.0f} MB"
            print(f"  {said}", file=sys.stderr, flush=True)
    return [Row(name=name, samples=tuple(found)) for name, found in samples.items()]


def peers_job(placed: Placed, work: Path) -> Job:
    """What the emitted script does, as values for the others; writes their model and rows."""
    rows = work / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in placed.texts_in_order()))
    model = placed.root / "model"
    if (model / "model.gguf").is_file():
        model = work / "converted"
        model.mkdir()
        program = [sys.executable, "-c", CONVERT, str(placed.root / "model/model.gguf"), str(model)]
        subprocess.run(program, check=True, env=placed.environment(), cwd=ROOT)
    return placed.job(model=model, rows=rows)


def _ours(placed: Placed, output: Path) -> Sample:
    more = {"RECIPEC_ROOT": str(placed.root), "RECIPEC_OUTPUT": str(output / "out")}
    return measured(["bench.peers.emitted"], placed.environment(**more), output)


def _peer(module: str, job: Job, placed: Placed) -> Sample:
    path = Path(job.output) / "job.json"
    job.save(path)
    return measured([module, str(path)], placed.environment(HF_HOME=job.output), path.parent)


def measured(module: Sequence[str], environment: Mapping[str, str], output: Path) -> Sample:
    """Run a contestant in a fresh process, which is told where to put its result."""
    result = output / "result.json"
    said = output / "stderr"
    with said.open("wb") as stream:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", *module, str(result)],
            env=environment,
            cwd=ROOT,
            stdout=stream,
            stderr=stream,
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or not result.is_file():
        raise SystemExit(f"{module[0]} failed:\n{said.read_text()[-3000:]}")
    return _sample(Result.read(result), started, usage.ru_maxrss * 1024)


def _sample(result: Result, started: float, peak: int) -> Sample:
    steps = len(result.ended) - 1
    return Sample(
        steps_per_second=steps / (result.ended[-1] - result.ended[0]),
        cpu_seconds_per_step=(result.busy[-1] - result.busy[0]) / steps,
        seconds_to_first_step=result.ended[0] - started,
        peak_bytes=peak,
        loss=statistics.fmean(result.losses),
    )


def show(workload: Workload, rows: Sequence[Row]) -> None:
    """Print the medians, and each contestant's beside recipec's."""
    rounds = len(rows[0].samples)
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    print(f"\n{workload.words()}; medians of {rounds}; load of the machine {load}")
    print("\n".join(_lines(rows)))


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    heads = ("steps/s", "x", "CPU ms/step", "x", "first step s", "peak MB", "x", "mean loss")
    yield f"{'':18}" + "".join(f"{head:>13}" for head in heads)
    ours = rows[0]
    for row in rows:
        speed, busy, peak = map(
            row.median, ("steps_per_second", "cpu_seconds_per_step", "peak_bytes")
        )
        cells = (
            f"{speed:.2f}",
            f"{ours.median('steps_per_second') / speed:.2f}",
            f"{1000 * busy:.2f}",
            f"{busy / ours.median('cpu_seconds_per_step'):.2f}",
            f"{row.median('seconds_to_first_step'):.1f}",
            f"{peak / 1e6:.0f}",
            f"{peak / ours.median('peak_bytes'):.2f}",
            f"{row.median('loss'):.5f}",
        )
        yield f"{row.name:18}" + "".join(f"{cell:>13}" for cell in cells)


def _document(workload: Workload, rows: Sequence[Row]) -> dict[str, object]:
    return {
        "workload": workload.name,
        "what": workload.words(),
        "steps": workload.steps,
        "load": os.getloadavg(),
        "rows": [asdict(row) for row in rows],
    }


if __name__ == "__main__":
    main()
