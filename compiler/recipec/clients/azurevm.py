"""Checks what Azure is asked for a virtual machine with, by the models of azure-mgmt-compute.

In: a file's bytes. Out: a `Verdict`. The SDK takes any value into its models and leaves it to the
service; the models themselves say names, types, enumerations and what only the server writes, so
a request is held against them here.
"""

from __future__ import annotations

import base64
import binascii
import enum
import typing
from collections.abc import Iterator
from typing import Any

from recipec.clients.verdict import Verdict, at, client, documents, version

EXTRA = "azure"
PACKAGE = "azure-mgmt-compute"
OPEN = ("properties.hardwareProfile.vmSize",)
"""Enumerations that stopped growing: the SDK's machine types end with those of 2018."""
MOST_DATA = 65536
"""Bytes of customData before they are encoded."""


def check_request(data: bytes) -> tuple[Verdict, str | None]:
    """The body of Microsoft.Compute/virtualMachines, and the user data in it."""
    models = client("azure.mgmt.compute.models", PACKAGE, EXTRA)
    plain, wrong = documents(data)
    text: str | None = None
    if not wrong and len(plain) != 1:
        wrong = ["the file is not one virtual machine"]
    for one in () if wrong else plain:
        wrong += _model(models, models.VirtualMachine, one, "")
        text, fault = _decoded(at(one, "properties", "osProfile", "customData"))
        wrong += [*fault, *_ours(one)]
    return Verdict(validator=version(PACKAGE), faults=tuple(wrong)), text


def _model(models: Any, model: Any, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is no mapping"
        return
    model({})  # fills the table of its fields
    fields = {field._rest_name: (name, field) for name, field in model._attr_to_rest_field.items()}
    hints = typing.get_type_hints(model, None, {"_models": models})
    for key, child in value.items():
        here = f"{place}.{key}".lstrip(".")
        if key not in fields:
            yield f"{here}: unknown key{_nearest(key, list(fields))}"
            continue
        name, field = fields[key]
        if field._visibility == ["read"]:
            yield f"{here}: only the server writes it"
        else:
            yield from _value(models, hints[name], child, here)


def _value(models: Any, hint: Any, value: Any, place: str) -> Iterator[str]:
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    if typing.get_origin(hint) in (list, dict):
        kinds = [hint]
    words = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, enum.Enum)]
    kind = kinds[0]
    if words:
        known = [str(one.value) for one in words[0]]
        if value not in known and place not in OPEN:
            yield f"{place}: {value!r} is none of {', '.join(known)}"
    elif typing.get_origin(kind) is list:
        inner = typing.get_args(kind)[0]
        for index, one in enumerate(value if isinstance(value, list) else ()):
            yield from _value(models, inner, one, f"{place}[{index}]")
        if not isinstance(value, list):
            yield f"{place}: {value!r} is no list"
    elif typing.get_origin(kind) is dict:
        inner = typing.get_args(kind)[1]
        for name, one in value.items() if isinstance(value, dict) else ():
            yield from _value(models, inner, one, f"{place}.{name}")
    elif isinstance(kind, type) and kind.__module__.startswith("azure."):
        yield from _model(models, kind, value, place)
    elif kind in (str, int, bool, float) and not _is_a(value, kind):
        yield f"{place}: {value!r} is not of type {kind.__name__}"


def _is_a(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _nearest(word: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _decoded(encoded: Any) -> tuple[str | None, list[str]]:
    place = "properties.osProfile.customData"
    try:
        data = base64.b64decode(str(encoded), validate=True)
        text = data.decode()
    except (binascii.Error, UnicodeDecodeError):
        return None, [f"{place}: it is not base64 of a text"]
    if len(data) > MOST_DATA:
        return text, [f"{place}: {len(data)} bytes, and {MOST_DATA} are the most"]
    return text, []


def _ours(plain: Any) -> Iterator[str]:
    """What several fields say together."""
    properties = plain.get("properties")
    if not plain.get("location"):
        yield "location: a machine has one"
    if not at(properties, "hardwareProfile", "vmSize"):
        yield "properties.hardwareProfile.vmSize: a machine has one"
    spot = at(properties, "priority") == "Spot"
    for key in ("evictionPolicy", "billingProfile"):
        if at(properties, key) is not None and not spot:
            yield f"properties.{key}: only spot machines have it"
    if not at(properties, "networkProfile", "networkInterfaces"):
        yield "properties.networkProfile.networkInterfaces: a machine has one"
    linux = at(properties, "osProfile", "linuxConfiguration")
    if at(linux, "disablePasswordAuthentication") and not at(linux, "ssh", "publicKeys"):
        yield "properties.osProfile.linuxConfiguration.ssh: without passwords, a key is needed"
