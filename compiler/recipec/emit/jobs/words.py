"""Words for the settings of targets: examples, and why one does nothing somewhere.

Data only.
"""

from __future__ import annotations

from collections.abc import Mapping

WHY_NOT: Mapping[str, str] = {
    "machine": "it runs where its command is given",
    "region": "the place follows from where the document is sent",
    "zone": "the place follows from where the document is sent",
    "project": "the place follows from where the document is sent",
    "namespace": "only Kubernetes has namespaces",
    "compute": "it has no compute targets",
    "identity": "it has no identities of its own",
    "output": "it has a place of its own for results",
    "checkpoints": "the checkpoint lies beside the results, in `output`",
    "adapted": "it cannot mount another folder",
    "spot": "it cannot ask for such machines",
    "max_hours": "it has no limit of time",
    "retries": "it starts nothing again",
    "disk_gb": "the disk is the machine's",
    "boot": "only virtual machines are told what to boot",
    "ssh_key": "only Azure's virtual machines need one",
}
"""What to say of a setting that a service does not take."""

EXAMPLES: Mapping[str, str] = {
    "machine": "Standard_NC24ads_A100_v4",
    "region": "us-east-1",
    "zone": "us-central1-a",
    "project": "my-project",
    "compute": "gpu-cluster",
    "identity": "training@my-project.iam.gserviceaccount.com",
    "output": "pvc:results/legal-t5",
    "checkpoints": "s3://my-bucket/checkpoints/legal-t5",
    "azureml.output": "azureml://datastores/workspaceblobstore/paths/runs",
    "skypilot.output": "s3://my-bucket/runs",
    "vertex.output": "gs://my-bucket/runs",
    "databricks.output": "/Volumes/main/training/runs",
    "databricks.project": "/Workspace/Users/me@example.com/recipec",
    "boot": "ami-0123456789abcdef0",
    "gce.boot": "projects/debian-cloud/global/images/family/debian-12",
    "azure-vm.boot": "Debian:debian-12:12-gen2:latest",
    "ibm-vpc.boot": "r006-01234567-89ab-cdef-0123-456789abcdef",
    "ibm-vpc.compute": "0717-01234567-89ab-cdef-0123-456789abcdef",
    "ec2.zone": "us-east-1a",
    "ibm-vpc.zone": "us-south-1",
    "azure-vm.compute": "/subscriptions/ID/resourceGroups/NAME/providers/Microsoft.Network"
    "/networkInterfaces/NAME",
    "azure-vm.region": "westeurope",
    "ssh_key": "ssh-ed25519 AAAA...",
    "sagemaker.machine": "ml.g5.xlarge",
    "sagemaker.identity": "arn:aws:iam::123456789012:role/training",
    "sagemaker.output": "s3://my-bucket/runs",
}
"""What a setting may look like; `TARGET.KEY` where a service wants it otherwise."""


def example(target: str, key: str) -> str:
    """A value that a setting may have."""
    return EXAMPLES.get(f"{target}.{key}") or EXAMPLES[key]
