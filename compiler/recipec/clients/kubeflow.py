"""Checks JobSets and TrainJobs by the models of kubeflow-trainer-api.

In: a file's bytes. Out: a `Verdict`. The models find wrong types and what is missing, but drop
keys that they do not know: what does not come back from them as it went in is such a key. The Job
inside of a JobSet is checked by Kubernetes' own schemas, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recipec.clients.kubernetes import PACKAGE as SCHEMAS
from recipec.clients.kubernetes import by_schema, named, pod_faults
from recipec.clients.verdict import Verdict, at, by_digest, client, documents, lost, version

EXTRA = "kubernetes"
PACKAGE = "kubeflow-trainer-api"
JOBSET = ("jobset.x-k8s.io/v1alpha2", "JobSet")
TRAINJOB = ("trainer.kubeflow.org/v1alpha1", "TrainJob")


def check_jobset(data: bytes) -> Verdict:
    """A file with one JobSet."""
    library = client("kubernetes_validate", SCHEMAS, EXTRA)
    newest = library.latest_version()
    plain, wrong = _read(data, JOBSET, "JobsetV1alpha2JobSet")
    for one in plain:
        jobs = at(one, "spec", "replicatedJobs")
        wrong += [] if jobs else ["spec.replicatedJobs: there are none"]
        for number, job in enumerate(jobs if isinstance(jobs, list) else ()):
            place = f"spec.replicatedJobs[{number}]"
            inner = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}}
            spec = at(job, "template", "spec")
            found = by_schema(library, {**inner, "spec": spec}, newest)
            wrong += [f"{place}.template.{fault}" for fault in found]
            pod = at(spec, "template", "spec")
            wrong += pod_faults(pod, f"{place}.template.spec.template.spec")
            wrong += _hostnames(one, job, place)
    said = f"{version(PACKAGE)}; {version(SCHEMAS)}, Kubernetes {newest}, strict"
    return Verdict(validator=said, faults=tuple(wrong))


def check_trainjob(data: bytes) -> Verdict:
    """A file with one TrainJob."""
    plain, wrong = _read(data, TRAINJOB, "TrainerV1alpha1TrainJob")
    for one in plain:
        wrong += by_digest("spec.trainer.image", at(one, "spec", "trainer", "image"))
        for name in ("numNodes", "numProcPerNode"):
            count = at(one, "spec", "trainer", name)
            if isinstance(count, int) and count < 1:
                wrong.append(f"spec.trainer.{name}: {count} is less than 1")
    return Verdict(validator=version(PACKAGE), faults=tuple(wrong))


def _read(data: bytes, wanted: tuple[str, str], name: str) -> tuple[list[Any], list[str]]:
    """The document if it is of the wanted kind, and what its model and its names say of it."""
    model: Any = getattr(client("kubeflow_trainer_api.models", PACKAGE, EXTRA), name)
    plain, wrong = documents(data)
    if wrong:
        return [], wrong
    (one, *more) = plain
    if more or (one.get("apiVersion"), one.get("kind")) != wanted:
        return [], [f"the file is not one {wanted[1]} of {wanted[0]}"]
    return [one], [*_by_model(model, one), *named(one)]


def _by_model(model: Any, plain: Any) -> Iterator[str]:
    validation = client("pydantic", PACKAGE, EXTRA).ValidationError
    try:
        back = model.from_dict(plain).to_dict()
    except validation as error:
        for one in error.errors():
            yield f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
    except (AttributeError, TypeError, ValueError) as error:
        # The models walk a document before they look at its types.
        yield f"a value is of the wrong type: {error}"
    else:
        yield from lost(plain, back)


def _hostnames(plain: Any, job: Any, place: str) -> Iterator[str]:
    """Pods are named after the set, the job and their index, 63 characters in all."""
    nodes = at(job, "template", "spec", "completions")
    replicas = at(job, "replicas")
    name = f"{at(plain, 'metadata', 'name')}-{at(job, 'name')}"
    last = f"{name}-{(replicas or 1) - 1}-{(nodes or 1) - 1}"
    if len(last) > 63:
        yield f"{place}.name: a pod's name {last} has {len(last)} characters, and 63 are the most"
