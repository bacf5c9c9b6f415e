"""Pass: a `Job` in, the texts of its documents out, or everything that the service cannot do.

The emitters are listed here; a service is imported only when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from recipec.emit.jobs.job import Emitter, Job, common_faults
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import TargetName

MODULES: Mapping[str, str] = {
    "sagemaker": "sagemaker",
    "vertex": "vertex",
    "azureml": "azureml",
    "gke": "kubernetes",
    "aks": "kubernetes",
    "eks": "kubernetes",
    "iks": "kubernetes",
    "jobset": "jobset",
    "trainjob": "jobset",
    "compose": "compose",
    "ec2": "ec2",
    "gce": "gce",
    "ibm-vpc": "ibm",
    "azure-vm": "azurevm",
    "skypilot": "skypilot",
    "databricks": "databricks",
    "tpu": "impossible",
    "watson": "impossible",
}
"""The module of each target; its EMITTERS has the target."""


def emitter_of(target: TargetName) -> Emitter:
    """How a target's documents are made."""
    module = importlib.import_module(f"recipec.emit.jobs.{MODULES[target]}")
    found: Emitter = module.EMITTERS[target]
    return found


def job_faults(job: Job) -> Iterator[Broken]:
    """Everything about a job that its service does not take."""
    emitter = emitter_of(job.target)
    # Where a service cannot do it at all, its settings are no matter.
    if MODULES[job.target] != "impossible":
        yield from common_faults(job, emitter)
    yield from emitter.faults(job)


def job_documents(job: Job) -> dict[str, bytes]:
    """File name to text, for a job without faults."""
    return emitter_of(job.target).documents(job)
