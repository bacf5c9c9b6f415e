"""Checks what virtual machines are asked for with: the provider's request, or the user data.

In: a file's bytes. Out: a `Verdict`. User data are a cloud-config, and go to cloud-init itself;
everything else is a request, and goes to the provider's own client or API description.
"""

from __future__ import annotations

import difflib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipec.clients import aws, azurevm, google
from recipec.clients.verdict import Verdict, at, client, documents, lost, version
from recipec.errors import EnvironmentLacks

EXTRA = "ibm"
PACKAGE = "ibm-vpc"
HEAD = b"#cloud-config"
PROGRAM = "cloud-init"
SECONDS = 60
OURS = ("package_update", "packages", "write_files", "runcmd")
"""Keys of the cloud-configs that we write."""


def check_ec2(data: bytes) -> Verdict:
    """The request of RunInstances, or its user data."""
    return check_user_data(data) if _is_user_data(data) else aws.check_ec2(data, _inside)


def check_gce(data: bytes) -> Verdict:
    """The body of instances.insert, or its user data."""
    if _is_user_data(data):
        return check_user_data(data)
    schemas = google.discovered("compute.v1")
    plain, wrong = google.one_of(data, "instance")
    for one in plain:
        wrong += google.against(schemas, "Instance", one)
        wrong += google.instance_faults(one)
        items = at(one, "metadata", "items") or []
        for item in items if isinstance(items, list) else ():
            if at(item, "key") == "user-data":
                wrong += _inside("metadata.items: user-data", at(item, "value"))
    return Verdict(validator=f"{version(google.PACKAGE)}, compute v1", faults=tuple(wrong))


def check_azure_vm(data: bytes) -> Verdict:
    """The body of Microsoft.Compute/virtualMachines, or its user data."""
    if _is_user_data(data):
        return check_user_data(data)
    verdict, text = azurevm.check_request(data)
    inside = _inside("properties.osProfile.customData", text) if text is not None else ()
    return Verdict(validator=verdict.validator, faults=(*verdict.faults, *inside))


def check_ibm(data: bytes) -> Verdict:
    """The body of POST /v1/instances, or its user data."""
    if _is_user_data(data):
        return check_user_data(data)
    library = client("ibm_vpc.vpc_v1", PACKAGE, EXTRA)
    name = "InstancePrototypeInstanceByImageInstanceByImageInstanceByNetworkInterface"
    plain, wrong = google.one_of(data, "instance")
    for one in plain:
        try:
            back = getattr(library, name).from_dict(one).to_dict()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            wrong.append(" ".join(str(error).split()))
        else:
            wrong += lost(one, back)
        wrong += google.named(one)
        wrong += _inside("user_data", one.get("user_data"))
    return Verdict(validator=version(PACKAGE), faults=tuple(wrong))


def check_user_data(data: bytes) -> Verdict:
    """A cloud-config. Raises EnvironmentLacks if cloud-init is not installed."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise EnvironmentLacks(
            "cloud-init, which checks such documents, is not installed",
            hint="install the package cloud-init of Debian or Ubuntu",
        )
    said = _run([program, "--version"])[1].split()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="recipec-") as folder:
        file = Path(folder, "user-data")
        file.write_bytes(data)
        code, text = _run([program, "schema", "--config-file", str(file)])
        if code:
            wrong = [" ".join(text.replace(str(file), "the file").split()) or f"exit code {code}"]
    wrong += _misspelt(data)
    return Verdict(validator=f"cloud-init {said[-1] if said else ''}", faults=tuple(wrong))


def _misspelt(data: bytes) -> Iterator[str]:
    """Keys that are nearly ours: cloud-init takes every key there is and does nothing for it."""
    plain, wrong = documents(data)
    yield from wrong
    for key in () if wrong else plain[0]:
        near = difflib.get_close_matches(key, OURS, n=1, cutoff=0.7)
        if near and key not in OURS:
            yield f"{key}: unknown key; did you mean {near[0]}?"


def _run(command: list[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentLacks(
            f"cloud-init is installed, and does not run: {error}",
            hint="install the package cloud-init anew",
        ) from error
    return done.returncode, done.stdout + done.stderr


def _is_user_data(data: bytes) -> bool:
    return data.startswith(HEAD)


def _inside(place: str, text: Any) -> Iterator[str]:
    """User data in a request must be a cloud-config; what stands in it is cloud-init's to say."""
    if not isinstance(text, str) or not text.startswith(HEAD.decode()):
        yield f"{place}: it does not begin with #cloud-config"
        return
    plain, wrong = documents(text.encode())
    yield from (f"{place}: {fault}" for fault in wrong)
    if not wrong and len(plain) != 1:
        yield f"{place}: it is more than one document"
