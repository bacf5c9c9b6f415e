"""Checks what Amazon's services are sent, by their own model in botocore.

In: plain values of a request. Out: a `Verdict`. botocore checks names, types, what is required and
the shortest length; the same model also holds enumerations, patterns and the greatest lengths,
which it leaves to the service: those are looked at here, and what fields say together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from recipec.clients.verdict import Verdict, at, by_digest, client, documents, version

EXTRA = "aws"

MOST_SECONDS = 28 * 24 * 3600
MOST_USER_DATA = 16384
"""Bytes, before they are encoded."""
_IMAGE = re.compile(r"ami-[0-9a-f]{8}([0-9a-f]{9})?")


def check_sagemaker(data: bytes) -> Verdict:
    """The request of CreateTrainingJob."""
    return _check(data, "sagemaker", "CreateTrainingJob", _sagemaker)


def check_ec2(data: bytes, user_data: Callable[[str, Any], Iterator[str]]) -> Verdict:
    """The request of RunInstances; `user_data` says what is wrong in that text."""

    def ours(plain: Any) -> Iterator[str]:
        text = plain.get("UserData")
        yield from user_data("UserData", text)
        if isinstance(text, str) and len(text.encode()) > MOST_USER_DATA:
            yield f"UserData: {len(text.encode())} bytes, and {MOST_USER_DATA} are the most"
        if not _IMAGE.fullmatch(str(plain.get("ImageId"))):
            yield f"ImageId: {plain.get('ImageId')!r} is no image, such as ami-0123456789abcdef0"
        if (plain.get("MinCount"), plain.get("MaxCount")) != (1, 1):
            yield "MinCount, MaxCount: a run is one machine"
        kind = at(plain, "InstanceMarketOptions", "SpotOptions", "SpotInstanceType")
        ends = at(plain, "InstanceMarketOptions", "SpotOptions", "InstanceInterruptionBehavior")
        if ends in ("stop", "hibernate") and kind != "persistent":
            yield "InstanceMarketOptions: only a persistent request is stopped and started again"

    return _check(data, "ec2", "RunInstances", ours)


def _check(
    data: bytes, service: str, operation: str, ours: Callable[[Any], Iterator[str]]
) -> Verdict:
    model = _model(service).operation_model(operation).input_shape
    client("regex", "regex", EXTRA)
    plain, wrong = documents(data)
    if not wrong and len(plain) > 1:
        wrong = ["the file holds more than one request"]
    for one in () if wrong else plain:
        report = client("botocore.validate", "botocore", EXTRA).ParamValidator()
        found = report.validate(one, model).generate_report()
        wrong += [line for line in found.splitlines() if line]
        wrong += _beyond(one, model, "")
        wrong += ours(one)
    return Verdict(validator=version("botocore"), faults=tuple(wrong))


@cache
def _model(service: str) -> Any:
    session = client("botocore.session", "botocore", EXTRA)
    return session.get_session().get_service_model(service)


def _beyond(value: Any, shape: Any, place: str) -> Iterator[str]:
    """What the model says of a value and botocore does not ask."""
    kind = shape.type_name
    if kind == "structure" and isinstance(value, dict):
        for name, child in value.items():
            if name in shape.members:
                yield from _beyond(child, shape.members[name], f"{place}.{name}".lstrip("."))
    elif kind == "list" and isinstance(value, list):
        yield from _too_many(len(value), shape, place, "entries")
        for index, child in enumerate(value):
            yield from _beyond(child, shape.member, f"{place}[{index}]")
    elif kind == "map" and isinstance(value, dict):
        yield from _too_many(len(value), shape, place, "entries")
        for name, child in value.items():
            yield from _beyond(name, shape.key, f"{place}: the key {name}")
            yield from _beyond(child, shape.value, f"{place}.{name}")
    elif kind == "string" and isinstance(value, str):
        yield from _too_many(len(value), shape, place, "characters")
        yield from _spelling(value, shape, place)
    elif isinstance(value, int | float) and value > shape.metadata.get("max", value):
        yield f"{place}: {value} is more than {shape.metadata['max']}"


def _too_many(count: int, shape: Any, place: str, what: str) -> Iterator[str]:
    most = shape.metadata.get("max")
    if most is not None and count > most:
        yield f"{place}: {count} {what}, and {most} is the most"


def _spelling(value: str, shape: Any, place: str) -> Iterator[str]:
    words, pattern = shape.enum, shape.metadata.get("pattern")
    if words and value not in words:
        import difflib

        near = difflib.get_close_matches(value, words, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield f"{place}: {value!r} is none of the {len(words)} values that there are{hint}"
    # The patterns are Java's, with classes such as \p{L} that Python's own `re` lacks.
    regex = client("regex", "regex", EXTRA)
    if pattern and not regex.fullmatch(pattern.replace(r"\p{Alnum}", "[a-zA-Z0-9]"), value):
        yield f"{place}: {value!r} does not match {pattern}"


def _sagemaker(plain: Any) -> Iterator[str]:
    """What several fields of a training job say together."""
    limits = plain.get("StoppingCondition")
    longest, wait = at(limits, "MaxRuntimeInSeconds"), at(limits, "MaxWaitTimeInSeconds")
    spot = plain.get("EnableManagedSpotTraining") is True
    if isinstance(longest, int) and longest > MOST_SECONDS:
        yield f"StoppingCondition.MaxRuntimeInSeconds: {longest}, and 28 days are the most"
    if spot and wait is None:
        yield "StoppingCondition.MaxWaitTimeInSeconds: spot training needs it"
    if wait is not None and not spot:
        yield "StoppingCondition.MaxWaitTimeInSeconds: only spot training has it"
    if isinstance(wait, int) and isinstance(longest, int) and wait < longest:
        yield f"StoppingCondition.MaxWaitTimeInSeconds: {wait} is less than MaxRuntimeInSeconds"
    if spot and "CheckpointConfig" not in plain:
        yield "CheckpointConfig: without it, a spot machine that is taken away loses the run"
    image = at(plain, "AlgorithmSpecification", "TrainingImage")
    yield from by_digest("AlgorithmSpecification.TrainingImage", image)
