"""Targets that an image of ours cannot run on: a reason and a way out in place of documents.

In: a `Job`. Out: always one fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from recipec.emit.jobs.job import Emitter, Job
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

REASONS: Mapping[TargetName, tuple[str, str]] = {
    "watson": (
        "Watson Machine Learning is now watsonx.ai Runtime: its tuning service was removed in"
        " September 2026, and it documents no training with images of one's own",
        "iks and ibm-vpc train on IBM Cloud",
    ),
    "tpu": (
        "a TPU needs torch-xla, whose newest release, 2.9.0 (November 2026), is for torch 2.9; the"
        " image has torch 2.13.0",
        "name a GPU in `hardware.accelerator`; gke and vertex have them beside TPUs",
    ),
}
"""Why, and what to do instead."""


def documents(job: Job) -> dict[str, bytes]:
    """There are none."""
    raise AssertionError(f"{job.target} has a fault")


def faults(job: Job, target: TargetName) -> Iterator[Broken]:
    """The reason."""
    why, instead = REASONS[target]
    path = ("deploy", "targets", job.target)
    yield Broken(path=path, message=f"{target}: {why}", hint=instead, at_key=True)


EMITTERS: Mapping[TargetName, Emitter] = {
    target: Emitter(
        target=target,
        takes=frozenset(),
        documents=documents,
        faults=partial(faults, target=target),
    )
    for target in REASONS
}
