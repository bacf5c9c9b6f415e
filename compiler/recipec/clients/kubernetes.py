"""Checks Kubernetes documents by the API's own schemas, which kubernetes-validate carries.

In: a file's bytes. Out: a `Verdict`. The strict schemas find unknown keys and wrong types; names,
labels, quantities and what a job allows of its pods are the API server's own rules, and ours here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from recipec.clients.verdict import Verdict, at, by_digest, client, documents, version
from recipec.emit.jobs.names import is_label, is_label_value, is_subdomain

EXTRA = "kubernetes"
PACKAGE = "kubernetes-validate"

_QUANTITY = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")
_KEY = re.compile(r"(?:([^/]*)/)?([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)")
_VARIABLE = re.compile(r"[^=\x00-\x1f\x7f]+")


def check_kubernetes(data: bytes) -> Verdict:
    """A file with a batch/v1 Job, and its Service."""
    library = client("kubernetes_validate", PACKAGE, EXTRA)
    plain, wrong = documents(data)
    newest = library.latest_version()
    if not wrong and not any(one.get("kind") == "Job" for one in plain):
        wrong = ["the file holds no Job"]
    for one in () if wrong else plain:
        wrong += by_schema(library, one, newest)
        wrong += named(one)
        if one.get("kind") == "Job":
            wrong += _job(one)
    said = f"{version(PACKAGE)}, Kubernetes {newest}, strict"
    return Verdict(validator=said, faults=tuple(wrong))


def by_schema(library: Any, plain: Any, newest: str) -> Iterator[str]:
    """What the schema of a document's kind refuses."""
    if not all(isinstance(plain.get(key), str) for key in ("apiVersion", "kind")):
        yield "apiVersion, kind: a document begins with them"
        return
    try:
        library.validate(plain, newest, strict=True)
    except library.SchemaNotFoundError as error:
        yield f"kind: {error.message}"
    except library.ValidationError as error:
        place = ".".join(str(part) for part in error.absolute_path) or "the document"
        yield f"{place}: {error.message}"


def named(plain: Any) -> Iterator[str]:
    """Names and labels that the API server would refuse."""
    name, space = at(plain, "metadata", "name"), at(plain, "metadata", "namespace")
    if not isinstance(name, str) or not is_label(name):
        yield f"metadata.name: {name!r} is no DNS label: small letters, digits, hyphens, at most 63"
    elif plain.get("kind") == "Service" and not name[0].isalpha():
        yield f"metadata.name: {name!r} does not begin with a letter, as a service's must"
    if space is not None and not (isinstance(space, str) and is_label(space)):
        yield f"metadata.namespace: {space!r} is no DNS label"
    for path in (("metadata",), ("spec", "template", "metadata")):
        place = ".".join(path)
        for kind in ("labels", "annotations"):
            texts = at(plain, *path, kind)
            for key, value in texts.items() if isinstance(texts, dict) else ():
                yield from _label(f"{place}.{kind}", key, value if kind == "labels" else "")


def _label(place: str, key: str, value: object) -> Iterator[str]:
    found = _KEY.fullmatch(key)
    if not found or (found[1] is not None and not is_subdomain(found[1])):
        yield f"{place}: {key!r} is no name of a label"
    if not isinstance(value, str) or not is_label_value(value):
        yield f"{place}.{key}: {value!r} is no label's value: at most 63 of A-Z a-z 0-9 . _ -"


def _job(plain: Any) -> Iterator[str]:
    """What a Job allows of its pods."""
    spec = plain.get("spec")
    if at(spec, "completionMode") == "Indexed":
        count = at(spec, "completions")
        longest = 63 - len(f"-{(count or 1) - 1}") if isinstance(count, int) else 0
        name = at(plain, "metadata", "name")
        if not isinstance(count, int) or count < 1:
            yield "spec.completions: an Indexed Job says how many there are"
        elif isinstance(name, str) and len(name) > longest:
            yield f"metadata.name: {len(name)} characters leave no room for a pod's index"
    yield from pod_faults(at(spec, "template", "spec"), "spec.template.spec")


def pod_faults(pod: Any, place: str) -> Iterator[str]:
    """What the API server would refuse in a pod that runs to its end."""
    if not isinstance(pod, dict):
        return
    policy = pod.get("restartPolicy")
    if policy not in ("Never", "OnFailure"):
        yield f"{place}.restartPolicy: {policy!r}; a Job takes Never or OnFailure"
    volumes = {at(one, "name") for one in pod.get("volumes") or ()}
    for number, one in enumerate(pod.get("containers") or ()):
        here = f"{place}.containers[{number}]"
        yield from by_digest(f"{here}.image", at(one, "image"))
        yield from _container(one, here, volumes)


def _container(one: Any, place: str, volumes: set[Any]) -> Iterator[str]:
    name = at(one, "name")
    if not isinstance(name, str) or not is_label(name):
        yield f"{place}.name: {name!r} is no DNS label"
    for variable in at(one, "env") or ():
        found = at(variable, "name")
        if not isinstance(found, str) or not _VARIABLE.fullmatch(found):
            yield f"{place}.env: {found!r} is no variable's name"
    for kind in ("requests", "limits"):
        for resource, amount in (at(one, "resources", kind) or {}).items():
            if isinstance(amount, str) and not _QUANTITY.fullmatch(amount):
                yield f"{place}.resources.{kind}.{resource}: {amount!r} is no quantity"
    for mount in at(one, "volumeMounts") or ():
        if at(mount, "name") not in volumes:
            yield f"{place}.volumeMounts: there is no volume {at(mount, 'name')!r}"
        if ".." in str(at(mount, "subPath") or "").split("/"):
            yield f"{place}.volumeMounts: a subPath leads out of its volume"
