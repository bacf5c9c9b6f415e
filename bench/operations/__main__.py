"""Run every case and print a JSON line for each, as it is done."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from bench.operations import pointwise, products, rows, states
from bench.operations.inputs import Case, Work

GROUPS = {
    "products": products.matrices,
    "batches": products.batches,
    "pointwise": pointwise.pointwise,
    "rows": rows.rows,
    "attention": rows.attention,
    "random": states.draws,
    "places": states.places,
    "optimizers": states.optimizers,
    "quantised": states.quantised,
    "files": states.files,
}


def main() -> None:
    """Print what each case gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="of CPU time, to measure a case for"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    seconds: float = options.seconds
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    for group, cases in GROUPS.items():
        for name, size, work in named(cases()):
            row: dict[str, object] = {"group": group, "name": name, "size": size, **outcome(work)}
            if seconds and "error" not in row:
                row["seconds"] = best(work, seconds)
            print(json.dumps(row), flush=True)


def named(cases: Iterator[Case]) -> Iterator[Case]:
    """The cases, none twice."""
    seen = set()
    for case in cases:
        assert case[:2] not in seen, case[:2]
        seen.add(case[:2])
        yield case


def outcome(work: Work) -> dict[str, str]:
    """The digest of each phase, or what went wrong."""
    try:
        results = work()
    except (RuntimeError, NotImplementedError) as error:
        return {"error": str(error).splitlines()[0][:200]}
    return {phase: digest(tensors) for phase, tensors in results.items()}


def digest(tensors: object) -> str:
    """The sha256 of the tensors' bytes, in order."""
    hashed = hashlib.sha256()
    assert isinstance(tensors, list | tuple)
    for tensor in tensors:
        assert isinstance(tensor, Tensor)
        plain = tensor.detach().contiguous()
        hashed.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()[:16]


def best(work: Work, seconds: float) -> float:
    """The least CPU time of one call, of as many as fit: what else runs hardly changes it."""
    found, end = float("inf"), time.process_time() + seconds
    while time.process_time() < end:
        started = time.process_time()
        work()
        found = min(found, time.process_time() - started)
    return found


if __name__ == "__main__":
    main()
