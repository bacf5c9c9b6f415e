"""Which module sends a target's document.

In: a target. Out: its `Sender`. No service's client is imported before it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from recipec.clients.send.call import Sender
from recipec.recipe.schema import TargetName

MODULES: Mapping[str, str] = {
    "sagemaker": "sagemaker",
    "ec2": "ec2",
    "gke": "kubernetes",
    "aks": "kubernetes",
    "eks": "kubernetes",
    "iks": "kubernetes",
    "jobset": "kubernetes",
    "trainjob": "kubernetes",
    "vertex": "google",
    "gce": "google",
    "azureml": "azureml",
    "azure-vm": "azurevm",
    "ibm-vpc": "ibm",
    "compose": "compose",
    "skypilot": "skypilot",
}
"""The module of each target; its SENDERS has the target."""


def sender_of(target: TargetName) -> Sender:
    """How a target's document is sent."""
    module = importlib.import_module(f"recipec.clients.send.{MODULES[target]}")
    found: Sender = module.SENDERS[target]
    return found
