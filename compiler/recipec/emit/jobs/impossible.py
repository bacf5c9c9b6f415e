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
    "databricks": (
        "a cluster of Databricks starts its own Spark and Python inside of the image, which needs"
        " Java, sudo and a root user there; ours has none of them",
        "aks, eks, gke and the virtual machines run beside a workspace, in the same cloud",
    ),
    "tpu": (
        "a TPU needs torch-xla, which follows torch at a distance; the image has torch alone",
        "gke and vertex have GPUs",
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
