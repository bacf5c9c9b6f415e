"""The platforms that an image runs on: how each is recognised, and where it wants things.

In: the environment and the file system's root. Out: a `Place`: folders for outputs, checkpoints
and TensorBoard, the failure file, and the exit code that means "start me again". The table is data;
`launch` puts it to use. RECIPEC_* variables win over a platform's own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recipec_runtime.errors import EnvironmentLacks

OUTPUT, TRAINED, ADAPTED = "/out", "/trained", "/adapted"
"""The image's own folders."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """One row. A folder is a path, or `$NAME` for a variable's value."""

    name: str
    title: str
    targets: tuple[str, ...] = ()
    """Values of RECIPEC_ENGINE that name it: recipec's engines and the targets of its jobs."""
    marks: tuple[str, ...] = ()
    """Variables; without RECIPEC_ENGINE the platform is this one if any of them is set."""
    file: str = ""
    """A folder, relative to the root, that only this platform has."""
    output: str = "$RECIPEC_OUTPUT"
    """Where the run writes; /out if the variable is not set."""
    collect: str = "$RECIPEC_COLLECT"
    """Where finished files are copied to, if anywhere: object stores cannot rename a folder."""
    checkpoints: str = "$RECIPEC_CHECKPOINTS"
    """Where the checkpoint lies, in a folder of the recipe's name; beside the outputs if open."""
    tensorboard: str = ""
    failure: str = ""
    """The file that a failure's message is left in."""
    denied: str = "its folders must be writable by the user that the image runs as"
    """What to do where a folder cannot be written to."""
    needs: tuple[str, ...] = ()
    """Of collect and output, variables one of which must be set, or nothing is kept."""
    stop_code: int = 143
    """Exit code after SIGTERM, with a checkpoint saved: one that makes the platform restart."""
    grace: str
    """What the platform leaves between SIGTERM and SIGKILL."""
    restarts: str
    """What makes it start the run again, for the reference page."""


TABLE: tuple[Platform, ...] = (
    Platform(
        name="sagemaker",
        title="SageMaker training job",
        file="opt/ml/input/config",
        output="/opt/ml/model",
        checkpoints="/opt/ml/checkpoints",
        failure="/opt/ml/output/failure",
        denied="SageMaker's folders are root's: give it an image that runs as root, see"
        " docs/platforms.md",
        grace="120 s",
        restarts="an interrupted managed spot job by itself, whatever the exit code",
    ),
    Platform(
        name="vertex",
        title="Vertex AI custom job",
        marks=("CLOUD_ML_JOB_ID", "CLUSTER_SPEC", "AIP_MODEL_DIR", "AIP_CHECKPOINT_DIR"),
        collect="$AIP_MODEL_DIR",
        checkpoints="$AIP_CHECKPOINT_DIR",
        tensorboard="$AIP_TENSORBOARD_LOG_DIR",
        needs=("AIP_MODEL_DIR",),
        grace="30 s on spot machines",
        restarts="a worker that exits with another code than 0",
    ),
    Platform(
        name="azureml",
        title="Azure ML command job",
        marks=("AZUREML_RUN_ID",),
        collect="$AZURE_ML_OUTPUT_trained",
        checkpoints="$AZURE_ML_OUTPUT_checkpoints",
        needs=("AZURE_ML_OUTPUT_trained",),
        grace="30 s on low-priority machines",
        restarts="a job whose low-priority machine was taken away",
    ),
    Platform(
        name="trainjob",
        title="Kubeflow Trainer v2 TrainJob",
        marks=("PET_NNODES", "PET_NODE_RANK"),
        grace="terminationGracePeriodSeconds, 30 s if open",
        restarts="its JobSet, up to maxRestarts, after a code other than 0",
    ),
    Platform(
        name="jobset",
        title="Kubernetes JobSet",
        targets=("jobset", "tpu"),
        grace="terminationGracePeriodSeconds, 30 s if open",
        restarts="the JobSet, up to maxRestarts, after a code other than 0",
    ),
    Platform(
        name="kubernetes",
        title="Kubernetes Job: GKE, AKS, EKS, IKS",
        targets=("gke", "aks", "eks", "iks", "kubernetes"),
        marks=("JOB_COMPLETION_INDEX", "KUBERNETES_SERVICE_HOST"),
        grace="terminationGracePeriodSeconds, 30 s if open",
        restarts="the Job, up to backoffLimit, after a code other than 0",
    ),
    Platform(
        name="skypilot",
        title="SkyPilot task",
        marks=("SKYPILOT_TASK_ID", "SKYPILOT_NODE_RANK"),
        grace="the cloud's",
        restarts="a managed job whose machine is gone; with recover_on_exit_codes: [143] always",
    ),
    Platform(
        name="databricks",
        title="Databricks job with a container",
        marks=("DATABRICKS_RUNTIME_VERSION",),
        grace="not documented",
        restarts="a task with max_retries, after a code other than 0",
    ),
    Platform(
        name="compose",
        title="docker compose",
        grace="stop_grace_period, 10 s if open",
        restarts="`restart: on-failure` or `unless-stopped`",
    ),
    Platform(
        name="vm",
        title="Plain machine: EC2, GCE, Azure, IBM VPC",
        targets=("ec2", "gce", "azure-vm", "ibm-vpc", "vm"),
        grace="the unit's TimeoutStopSec, 90 s if open; 30 to 120 s on spot machines",
        restarts="`Restart=on-failure` of the unit that cloud-init writes",
    ),
    Platform(
        name="torchrun",
        title="torchrun",
        marks=("TORCHELASTIC_RUN_ID",),
        grace="30 s",
        restarts="torchrun, up to --max-restarts",
    ),
    Platform(
        name="docker",
        title="docker, podman, recipec's engines, DVC",
        targets=("docker", "podman", "sandbox", "host"),
        grace="10 s of `docker stop`",
        restarts="the same command, given again",
    ),
)
"""In this order each is asked for; the last one is what is left."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one run on one platform reads and writes; None is where the platform has no such."""

    platform: Platform
    output: Path
    collect: Path | None = None
    checkpoints: Path | None = None
    tensorboard: Path | None = None


def recognise(environ: Mapping[str, str], root: Path = Path("/")) -> Platform:
    """The platform that this process runs on; RECIPEC_ENGINE names one outright.

    Raises EnvironmentLacks if it names none of the table.
    """
    by_target = {name: row for row in TABLE for name in row.targets or (row.name,)}
    given = environ.get("RECIPEC_ENGINE")
    if given:
        if given not in by_target:
            near = difflib.get_close_matches(given, by_target, n=1)
            raise EnvironmentLacks(
                f"RECIPEC_ENGINE is {given}, which is no platform that recipec knows",
                hint=f"did you mean {near[0]}?" if near else f"one of {', '.join(by_target)}",
            )
        return by_target[given]
    for platform in TABLE:
        if any(mark in environ for mark in platform.marks):
            return platform
        if platform.file and (root / platform.file).exists():
            return platform
    return TABLE[-1]


def place(
    platform: Platform, environ: Mapping[str, str], *, name: str, root: Path = Path("/")
) -> Place:
    """Folders of a run of the recipe `name`. Raises EnvironmentLacks if nothing would be kept."""
    output = environ.get("RECIPEC_OUTPUT") or _value(platform.output, environ) or OUTPUT
    collect = environ.get("RECIPEC_COLLECT") or _value(platform.collect, environ)
    given = environ.get("RECIPEC_CHECKPOINTS")
    checkpoints = given or _value(platform.checkpoints, environ)
    if platform.needs and "RECIPEC_OUTPUT" not in environ and not collect:
        raise EnvironmentLacks(
            f"nothing would be kept: none of {', '.join(platform.needs)}, RECIPEC_COLLECT and"
            " RECIPEC_OUTPUT is set",
            hint="on Vertex AI give the job a baseOutputDirectory, on Azure ML an output `trained`;"
            " or name a mounted folder in RECIPEC_COLLECT",
        )
    logs = _value(platform.tensorboard, environ)
    folder = _folder(output, root)
    saved = _folder(checkpoints, root) / name if checkpoints else None
    if saved is not None and saved.is_relative_to(folder):
        if given:
            raise EnvironmentLacks(
                f"the checkpoints' folder {saved.parent} lies in the outputs' {folder}",
                hint="leave RECIPEC_CHECKPOINTS open, or name a folder elsewhere",
            )
        saved = None  # RECIPEC_OUTPUT names what the platform keeps: beside the outputs is fine
    return Place(
        platform=platform,
        output=folder,
        collect=_folder(collect, root) if collect else None,
        checkpoints=saved,
        tensorboard=_folder(logs, root) / name if logs else None,
    )


def _value(rule: str, environ: Mapping[str, str]) -> str:
    """A rule's path; nothing where it names a variable that is not set."""
    return environ.get(rule[1:], "") if rule.startswith("$") else rule


def _folder(value: str, root: Path) -> Path:
    """A folder by its path, or a bucket of Google's by the folder that Vertex AI mounts it at."""
    scheme, separator, rest = value.partition("://")
    if separator and scheme != "gs":
        raise EnvironmentLacks(
            f"{value} is an address, and the image has no client for it",
            hint="let the platform mount it, and name the folder",
        )
    path = PurePosixPath("/gcs", rest) if separator else PurePosixPath(value)
    if separator:
        bucket = root.joinpath(*path.parts[1:3])
        if not bucket.is_dir():
            raise EnvironmentLacks(
                f"{value} is a bucket, and it is not mounted at {PurePosixPath(*path.parts[:3])}",
                hint="Vertex AI mounts buckets below /gcs; elsewhere mount it, and name the folder",
            )
    if not path.is_absolute():
        return Path(path).absolute()
    return root.joinpath(*path.parts[1:])
