"""`deploy` of a recipe: the services that its image is sent to, and what each must be told.

Nothing here enters the image, the lock or the run id: where a recipe runs is not what it gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from msgspec import Meta

from recipec.recipe.schema.values import Text

TargetName = Literal[
    "sagemaker",
    "vertex",
    "azureml",
    "gke",
    "aks",
    "eks",
    "iks",
    "jobset",
    "trainjob",
    "databricks",
    "skypilot",
    "compose",
    "ec2",
    "gce",
    "azure-vm",
    "ibm-vpc",
    "tpu",
    "watson",
]
TARGETS: tuple[TargetName, ...] = get_args(TargetName)


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """What one service must be told; docs/targets.md says which keys it takes."""

    machine: Annotated[
        Text | None,
        Meta(description="Machine type in the service's own spelling, such as ml.g5.xlarge."),
    ] = None
    region: Annotated[Text | None, Meta(description="Region of the service.")] = None
    zone: Annotated[Text | None, Meta(description="Zone in the region.")] = None
    project: Annotated[
        Text | None,
        Meta(
            description=(
                "IBM: the id of the resource group. Databricks: the folder of the workspace that"
                " the command is put into."
            )
        ),
    ] = None
    namespace: Annotated[Text | None, Meta(description="Kubernetes: the namespace.")] = None
    compute: Annotated[
        Text | None,
        Meta(
            description=(
                "Where the service puts the job: Azure ML's compute target, a virtual machine's"
                " subnet (on Azure its network interface), Trainer's runtime."
            )
        ),
    ] = None
    identity: Annotated[
        Text | None,
        Meta(
            description=(
                "Who the job is: a role's ARN, a service account, an instance profile, a managed"
                " identity."
            )
        ),
    ] = None
    output: Annotated[
        Text | None,
        Meta(
            description=(
                "Where the results go: s3://..., gs://..., azureml://..., pvc:CLAIM/FOLDER,"
                " /Volumes/..., or a folder of the machine."
            )
        ),
    ] = None
    checkpoints: Annotated[
        Text | None,
        Meta(description="SageMaker: where checkpoints are kept while the job runs, s3://..."),
    ] = None
    adapted: Annotated[
        Text | None,
        Meta(
            description=(
                "With `domain.corpus`: where the files lie that the corpus' train stage wrote, as"
                " `output` is written."
            )
        ),
    ] = None
    spot: Annotated[
        bool, Meta(description="Use machines that may be taken away, which cost less.")
    ] = False
    max_hours: Annotated[
        float, Meta(description="Hours after which the service stops the job.", gt=0, le=8760)
    ] = 24.0
    retries: Annotated[
        int,
        Meta(
            description="Times that the service starts the job again; it goes on from its"
            " checkpoint.",
            ge=0,
            le=100,
        ),
    ] = 3
    boot: Annotated[
        Text | None,
        Meta(
            description=(
                "Virtual machines: the image that the machine itself boots, with cloud-init; for"
                " GPUs it must have the driver, docker and NVIDIA's container toolkit."
            )
        ),
    ] = None
    ssh_key: Annotated[
        Text | None,
        Meta(description="Azure's virtual machines: the public key of their administrator."),
    ] = None
    disk_gb: Annotated[
        Annotated[int, Meta(ge=1, le=65536)] | None,
        Meta(description="Size of the machine's disk in GB."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Deploy:
    """Where the image runs besides this machine; `build` writes build/NAME/jobs/ for it."""

    image: Annotated[
        Text,
        Meta(
            description=(
                "The image's place in a registry, such as registry.example/team/legal-t5; the"
                " digest is the lock's."
            )
        ),
    ]
    targets: Annotated[
        list[TargetName]
        | Annotated[
            dict[TargetName, TargetSettings],
            Meta(extra_json_schema={"propertyNames": {"enum": list(TARGETS)}}),
        ],
        Meta(description="The services: a list of names, or names with their settings."),
    ] = field(default_factory=list)

    def settings(self) -> dict[TargetName, TargetSettings]:
        """The settings of each target; the usual ones for those that are only named."""
        if isinstance(self.targets, dict):
            return self.targets
        return {name: TargetSettings() for name in self.targets}
