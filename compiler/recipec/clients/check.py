"""Which client checks a target's documents.

In: a target and a file's bytes. Out: a `Verdict`. Each client is an extra of its own; none is
imported before it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from recipec.clients.verdict import Verdict
from recipec.errors import UsageError
from recipec.recipe.schema import TargetName

CHECKS: Mapping[str, tuple[str, str, str]] = {
    "sagemaker": ("aws", "check_sagemaker", "aws"),
    "vertex": ("google", "check_vertex", "gcp"),
    "azureml": ("azure", "check_azureml", "azure"),
    "gke": ("kubernetes", "check_kubernetes", "kubernetes"),
    "aks": ("kubernetes", "check_kubernetes", "kubernetes"),
    "eks": ("kubernetes", "check_kubernetes", "kubernetes"),
    "iks": ("kubernetes", "check_kubernetes", "kubernetes"),
    "jobset": ("kubeflow", "check_jobset", "kubernetes"),
    "trainjob": ("kubeflow", "check_trainjob", "kubernetes"),
    "databricks": ("databricks", "check_databricks", "databricks"),
    "skypilot": ("sky", "check_skypilot", "skypilot"),
    "compose": ("compose", "check_compose", "compose"),
    "ec2": ("machines", "check_ec2", "aws"),
    "gce": ("machines", "check_gce", "gcp"),
    "azure-vm": ("machines", "check_azure_vm", "azure"),
    "ibm-vpc": ("machines", "check_ibm", "ibm"),
}
"""For each target module and function, and the extra that brings the client."""


def check_document(target: TargetName, data: bytes) -> Verdict:
    """What the target's client and we say of a document.

    Raises EnvironmentLacks if the client is not installed, UsageError if the target has none.
    """
    if target not in CHECKS:
        raise UsageError(
            f"{target} has no documents that could be checked",
            hint=f"`recipec emit-job {target} RECIPE` says why",
        )
    module, name, _ = CHECKS[target]
    check: Callable[[bytes], Verdict] = getattr(
        importlib.import_module(f"recipec.clients.{module}"), name
    )
    return check(data)
