"""Checks what Google's services are sent, by the APIs' own discovery documents.

In: a file's bytes. Out: a `Verdict`. google-api-python-client carries the documents that Google's
servers publish of their APIs; a request is held against the schemas in them: keys, types, words
and formats, and what only the server may write. What fields say together is looked at here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from recipec.clients.verdict import Verdict, at, by_digest, client, documents, version
from recipec.emit.jobs.names import is_label

EXTRA = "gcp"
PACKAGE = "google-api-python-client"

_INTEGER = re.compile(r"-?[0-9]+")
_DURATION = re.compile(r"[0-9]+(\.[0-9]{1,9})?s")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}
_TRUTHS = ("boolean", "any")

LONGEST_NAME = 128


def check_vertex(data: bytes) -> Verdict:
    """The body of projects.locations.customJobs.create."""
    schemas = discovered("aiplatform.v1")
    plain, wrong = one_of(data, "custom job")
    for one in plain:
        wrong += against(schemas, "GoogleCloudAiplatformV1CustomJob", one)
        wrong += _vertex(one)
    return Verdict(validator=f"{version(PACKAGE)}, aiplatform v1", faults=tuple(wrong))


@cache
def discovered(api: str) -> Any:
    """The schemas of an API, such as `compute.v1`."""
    package = client("googleapiclient.discovery_cache", PACKAGE, EXTRA)
    text = Path(package.__file__).with_name("documents") / f"{api}.json"
    return json.loads(text.read_bytes())["schemas"]


def one_of(data: bytes, what: str) -> tuple[list[Any], list[str]]:
    """The one document in a file's bytes."""
    plain, wrong = documents(data)
    if not wrong and len(plain) != 1:
        wrong = [f"the file is not one {what}"]
    return ([] if wrong else plain), wrong


def against(schemas: Any, name: str, value: Any, place: str = "") -> Iterator[str]:
    """What a schema of a discovery document refuses of a value."""
    yield from _value(schemas, {"$ref": name}, value, place)


def _value(schemas: Any, schema: Any, value: Any, place: str) -> Iterator[str]:
    # What stands beside a $ref is about this place, such as that only the server writes it.
    schema = {**schemas[schema["$ref"]], **schema} if "$ref" in schema else schema
    kind = schema.get("type", "any")
    wanted = _TYPES.get(kind, object)
    if schema.get("readOnly"):
        yield f"{place}: only the server writes it"
    elif not isinstance(value, wanted) or (isinstance(value, bool) and kind not in _TRUTHS):
        yield f"{place or 'the document'}: {value!r} is not of type {kind}"
    elif isinstance(value, dict) and kind == "object":
        yield from _object(schemas, schema, value, place)
    elif isinstance(value, list) and kind == "array":
        for index, item in enumerate(value):
            yield from _value(schemas, schema["items"], item, f"{place}[{index}]")
    elif isinstance(value, str):
        yield from _text(schema, value, place)


def _object(schemas: Any, schema: Any, value: Any, place: str) -> Iterator[str]:
    known, free = schema.get("properties", {}), schema.get("additionalProperties")
    for key, child in value.items():
        here = f"{place}.{key}".lstrip(".")
        if key in known:
            yield from _value(schemas, known[key], child, here)
        elif free is not None:
            yield from _value(schemas, free, child, here)
        else:
            yield f"{here}: unknown key{_nearest(key, known)}"


def _text(schema: Any, value: str, place: str) -> Iterator[str]:
    words, form = schema.get("enum"), schema.get("format")
    if words and value not in words:
        yield f"{place}: {value!r} is none of the words that there are{_nearest(value, words)}"
    if form in ("int64", "uint64") and not _INTEGER.fullmatch(value):
        yield f"{place}: {value!r} is no whole number"
    if form == "google-duration" and not _DURATION.fullmatch(value):
        yield f"{place}: {value!r} is no duration, such as 3600s"


def _nearest(word: str, known: Any) -> str:
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def labels(plain: Any, place: str) -> Iterator[str]:
    """Labels that Google's services would refuse."""
    found = at(plain, "labels")
    for key, value in found.items() if isinstance(found, dict) else ():
        if not _LABEL.fullmatch(key) or not key[:1].isalpha():
            yield f"{place}: {key!r} is no name of a label"
        if not isinstance(value, str) or not _LABEL.fullmatch(value):
            yield f"{place}.{key}: {value!r} is no label's value: at most 63 of a-z 0-9 _ -"


def named(plain: Any) -> Iterator[str]:
    """A machine's name, as Google and IBM take it (RFC 1035)."""
    name = plain.get("name")
    if not isinstance(name, str) or not is_label(name) or not name[0].isalpha():
        yield f"name: {name!r} is no name: small letters, digits and hyphens, 63 at most"


def instance_faults(plain: Any) -> Iterator[str]:
    """What a machine's fields say together."""
    yield from named(plain)
    yield from labels(plain, "labels")
    for key in ("machineType", "disks", "networkInterfaces"):
        if not plain.get(key):
            yield f"{key}: a machine has it"
    scheduling = plain.get("scheduling")
    still = at(scheduling, "onHostMaintenance") == "TERMINATE"
    if at(scheduling, "provisioningModel") == "SPOT" and at(scheduling, "automaticRestart"):
        yield "scheduling.automaticRestart: a spot machine does not start by itself"
    if (plain.get("guestAccelerators") or at(scheduling, "provisioningModel") == "SPOT") and (
        not still
    ):
        yield "scheduling.onHostMaintenance: such a machine cannot be moved: TERMINATE"
    if at(scheduling, "maxRunDuration") and not at(scheduling, "instanceTerminationAction"):
        yield "scheduling.instanceTerminationAction: what happens after maxRunDuration"


def _vertex(plain: Any) -> Iterator[str]:
    """What a custom job's fields say together."""
    name, pools = plain.get("displayName"), at(plain, "jobSpec", "workerPoolSpecs")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        yield f"displayName: a job has a name of at most {LONGEST_NAME} characters"
    yield from labels(plain, "labels")
    if not isinstance(pools, list) or not pools:
        yield "jobSpec.workerPoolSpecs: there are none"
        return
    if str(at(pools[0], "replicaCount")) != "1":
        yield "jobSpec.workerPoolSpecs[0].replicaCount: the first pool is exactly one machine"
    for index, pool in enumerate(pools):
        place = f"jobSpec.workerPoolSpecs[{index}]"
        image, tasks = at(pool, "containerSpec", "imageUri"), ("containerSpec", "pythonPackageSpec")
        if sum(at(pool, task) is not None for task in tasks) != 1:
            yield f"{place}: one of {', '.join(tasks)} says what runs"
        yield from by_digest(f"{place}.containerSpec.imageUri", image)
        if not at(pool, "machineSpec", "machineType"):
            yield f"{place}.machineSpec.machineType: a pool has one"
        count, kind = (at(pool, "machineSpec", f"accelerator{key}") for key in ("Count", "Type"))
        if bool(count) != bool(kind):
            yield f"{place}.machineSpec: accelerators have a type and a count"
