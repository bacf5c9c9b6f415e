"""Makes virtual machines at Azure, with azure-mgmt-compute.

In: the body of Microsoft.Compute/virtualMachines. Out: the machine. Subscription and resource group
are those of its network interface. The request says that nothing of that name may exist, so a
machine that is there is never changed. A machine that cannot be made is taken away again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from recipec.clients.azurevm import PACKAGE
from recipec.clients.send.azurecore import ENDPOINT, EXTRA, TIMES, credential, understood
from recipec.clients.send.call import Call, Outcome, Refused, Sender, Words, Work
from recipec.clients.send.once import once
from recipec.clients.verdict import at, client
from recipec.recipe.schema import TargetName

SERVICE = "Azure"
TAG = "recipec-run-id"
WAIT = 120
"""Seconds after which a machine that is still being made is left to itself."""
RESULTS = "/var/lib/recipec/out on the machine's disk"
KEYS = (
    (r"(?i)image|publisher|marketplace", "boot"),
    (r"(?i)networkinterface|\bnic\b", "compute"),
    (r"(?i)userassigned|identity", "identity"),
    (r"(?i)vm ?size|sku", "machine"),
    (r"(?i)location|region", "region"),
    (r"(?i)ssh", "ssh_key"),
)
_PLACE = re.compile(r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/")


def calls(work: Work) -> tuple[Call, ...]:
    """The one request."""
    subscription, group = _places(work)
    return (
        Call(
            service=SERVICE,
            operation="virtualMachines.createOrUpdate, If-None-Match: *",
            endpoint=ENDPOINT,
            parameters={
                "subscription_id": subscription,
                "resource_group_name": group,
                "vm_name": _name(work),
                "resource": work.document,
            },
        ),
    )


def send(work: Work) -> Outcome:
    """Make the machine unless it is there."""
    (subscription, group), name = _places(work), _name(work)
    library = client("azure.mgmt.compute", PACKAGE, EXTRA, does="sends such jobs")
    missing = client("azure.core.exceptions", "azure-core", EXTRA).ResourceNotFoundError
    with understood(SERVICE, *KEYS):
        machines = library.ComputeManagementClient(
            credential(), subscription, **TIMES
        ).virtual_machines

    def look() -> Any:
        with understood(SERVICE, *KEYS):
            try:
                found = machines.get(group, name, expand="instanceView").as_dict()
            except missing as error:
                if at(error.error, "code") == "ResourceGroupNotFound":
                    raise
                return None
        return _ours(found, work.run_id, name)

    def start() -> Any:
        with understood(SERVICE, *KEYS):
            making = machines.begin_create_or_update(
                group, name, work.document, etag="*", match_condition=_missing()
            )
            try:
                making.wait(WAIT)
                return making.result().as_dict() if making.done() else {}
            except BaseException:
                with suppress(Exception):
                    machines.begin_delete(group, name, polling=False)
                raise

    found, started = once(look, start)
    where = f"--resource-group {group} --name {name} --subscription {subscription}"
    return Outcome(
        name=name,
        identifier=name,
        state=_state(found),
        started=started,
        words=Words(
            follow=f"az vm boot-diagnostics get-boot-log {where}\naz vm get-instance-view {where}",
            results=RESULTS,
            stop=f"az vm deallocate {where}",
            anew=f"az vm start {where}  # goes on with an unfinished run\naz vm delete {where}",
        ),
    )


def _missing() -> Any:
    return client("azure.core", "azure-core", EXTRA).MatchConditions.IfMissing


def _places(work: Work) -> tuple[str, str]:
    """Subscription and resource group."""
    interfaces = work.document["properties"]["networkProfile"]["networkInterfaces"]
    found = _PLACE.match(interfaces[0]["id"])
    assert found is not None, "the emitter has seen to it"
    return found[1], found[2]


def _name(work: Work) -> str:
    return str(work.document["properties"]["osProfile"]["computerName"])


def _ours(machine: Any, run_id: str, name: str) -> Any:
    if at(machine, "tags", TAG) != run_id:
        raise Refused(
            f"{SERVICE} has a machine called {name}, and it is not of this run",
            hint=f"see its tags: {TAG} is another",
        )
    return machine


def _state(machine: Any) -> str:
    """The power state, or how far the making of it is."""
    codes = [
        str(at(one, "code")) for one in at(machine, "properties", "instanceView", "statuses") or ()
    ]
    power = [code.partition("/")[2] for code in codes if code.startswith("PowerState/")]
    return power[0] if power else str(at(machine, "properties", "provisioningState") or "Creating")


SENDERS: Mapping[TargetName, Sender] = {"azure-vm": Sender(calls=calls, send=send)}
