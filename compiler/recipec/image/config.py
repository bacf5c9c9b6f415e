"""The image's config and its two manifests, as JSON bytes.

In: layers and environment. Out: bytes that depend on nothing else: no time, no host, no version of
recipec. Specifications: OCI image-spec 1.1 (config.md, manifest.md), Docker image manifest V2,
schema 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from recipec.catalog import cuda
from recipec.image.format import CREATED
from recipec.image.image import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    OUTPUT,
    ROOT,
    USER,
    Descriptor,
    Layer,
)
from recipec.image.target import Target
from recipec.pins.lockfile import Lock
from recipec.store import canonical

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ALWAYS = {
    "PATH": _PATH,
    "LANG": "C.UTF-8",
    "HOME": "/tmp",
    "PYTHONPATH": f"{ROOT}/runtime",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

_DRIVER = "/usr/local/nvidia"
"""Where Google's nodes and others mount the driver; NVIDIA's own toolkit puts its libraries into
folders that the loader knows."""


def config(
    lock: Lock,
    layers: Sequence[Layer],
    environment: Sequence[tuple[str, str]],
    inherited: Mapping[str, str],
) -> bytes:
    """The image's config, which OCI and Docker read alike.

    `inherited` are the variables of the image that ours begins with, none of Debian packages. Of
    its other settings none is taken over: they are about another program than ours.
    """
    target = Target(
        python=lock.platform.python, elsewhere=lock.base.interpreter if lock.base else ""
    )
    variables = _environment(lock, environment, _beside(target, inherited) if lock.base else {})
    return canonical(
        {
            "architecture": lock.platform.architecture,
            "os": lock.platform.os,
            "created": CREATED,
            "config": {
                "User": USER,
                "WorkingDir": OUTPUT,
                "Entrypoint": [target.interpreter, "-m", "recipec_runtime"],
                "Cmd": ["train"],
                "Env": [f"{name}={value}" for name, value in variables.items()],
                "Labels": _labels(lock),
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [
                {"created": CREATED, "created_by": f"recipec: {layer.kind}: {layer.name}"}
                for layer in layers
            ],
        }
    )


def _environment(
    lock: Lock, given: Sequence[tuple[str, str]], beside: Mapping[str, str]
) -> dict[str, str]:
    """What the image always sets, then what a base or a GPU asks for, then what the plan sets."""
    variables = {**_ALWAYS, **beside}
    if lock.platform.accelerator == "cuda":
        variables |= _of_cuda(lock, variables)
    return {**variables, **dict(given)}


def _beside(target: Target, inherited: Mapping[str, str]) -> dict[str, str]:
    """A base's variables as ours begins with them: our programs and modules come first.

    What a run relies on, such as HOME, is ours whatever the base says. The accounts of the base do
    not know our user, so a name of it is given.
    """
    path = f"/{target.scripts}:{inherited.get('PATH') or _PATH}"
    modules = [f"{ROOT}/runtime", f"/{target.site}", inherited.get("PYTHONPATH", "")]
    return {
        **{name: value for name, value in inherited.items() if name not in _ALWAYS},
        "LOGNAME": "recipec",
        "PATH": path,
        "PYTHONPATH": ":".join(module for module in modules if module),
    }


def _of_cuda(lock: Lock, before: Mapping[str, str]) -> dict[str, str]:
    """What makes container runtimes give a GPU to the image, and refuse a driver that is too old.

    Source: nvidia-container-toolkit 1.20, internal/config/image. Without NVIDIA_VISIBLE_DEVICES an
    image that has no CUDA_VERSION gets no GPU; a driver that is older than NVIDIA_REQUIRE_CUDA says
    stops the container before it starts. Within one major version an older driver will do.
    """
    versions = {wheel.name: wheel.version for wheel in lock.wheels}
    build = cuda.torch_builds().get(versions.get("torch", ""))
    libraries = (before.get("LD_LIBRARY_PATH"), f"{_DRIVER}/lib", f"{_DRIVER}/lib64")
    require = {"NVIDIA_REQUIRE_CUDA": f"cuda>={build.cuda[0]}.0"} if build else {}
    return {
        "PATH": f"{before['PATH']}:{_DRIVER}/bin",
        "LD_LIBRARY_PATH": ":".join(part for part in libraries if part),
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        **require,
    }


def _labels(lock: Lock) -> dict[str, str]:
    name = PurePosixPath(lock.recipe).name.partition(".")[0]
    return {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.description": f"Fine-tunes {lock.model.source}",
        **_base_labels(lock),
    }


def _base_labels(lock: Lock) -> dict[str, str]:
    """What ours begins with (OCI image-spec 1.1, annotations.md); no registry is named."""
    name = "org.opencontainers.image.base"
    if lock.base is None:
        return {f"{name}.name": f"debian:{lock.platform.debian}"}
    return {f"{name}.name": lock.base.repository, f"{name}.digest": lock.base.digest}


def manifest(config: Descriptor, layers: Sequence[Layer], *, docker: bool) -> bytes:
    """The OCI manifest, or with `docker` its schema2 twin over the same blobs."""
    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": plain(config, DOCKER_CONFIG if docker else OCI_CONFIG),
            "layers": [
                plain(layer.blob, DOCKER_LAYER if docker else OCI_LAYER) for layer in layers
            ],
        }
    )


def plain(descriptor: Descriptor, media_type: str) -> dict[str, object]:
    """A descriptor as manifests write it."""
    return {"mediaType": media_type, "digest": descriptor.digest, "size": descriptor.size}
