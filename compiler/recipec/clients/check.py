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

CHECKS: Mapping[str, tuple[str, str]] = {
    "sagemaker": ("aws", "check_sagemaker"),
    "vertex": ("google", "check_vertex"),
    "azureml": ("azure", "check_azureml"),
    "gke": ("kubernetes", "check_kubernetes"),
    "aks": ("kubernetes", "check_kubernetes"),
    "eks": ("kubernetes", "check_kubernetes"),
    "iks": ("kubernetes", "check_kubernetes"),
    "jobset": ("kubeflow", "check_jobset"),
    "trainjob": ("kubeflow", "check_trainjob"),
    "ec2": ("machines", "check_ec2"),
    "gce": ("machines", "check_gce"),
    "ibm-vpc": ("machines", "check_ibm"),
    "compose": ("compose", "check_compose"),
}
"""Module and function for each target."""


def check_document(target: TargetName, data: bytes) -> Verdict:
    """What the target's client and we say of a document.

    Raises EnvironmentLacks if the client is not installed, UsageError if the target has none.
    """
    if target not in CHECKS:
        raise UsageError(
            f"{target} has no documents that could be checked",
            hint=f"`recipec emit-job {target} RECIPE` says why",
        )
    module, name = CHECKS[target]
    check: Callable[[bytes], Verdict] = getattr(
        importlib.import_module(f"recipec.clients.{module}"), name
    )
    return check(data)
