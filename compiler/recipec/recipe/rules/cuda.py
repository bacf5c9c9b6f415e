"""Rules of recipes for NVIDIA GPUs: what torch's build, the driver and the GPU do not have.

The builds are read from stack.toml, the GPUs from hardware.toml, and neither for a CPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from recipec.catalog import cuda, stack
from recipec.catalog.hardware import Accelerator, find_accelerator
from recipec.recipe.document import KeyPath
from recipec.recipe.rules.broken import Broken
from recipec.recipe.schema import Recipe

_FLASH = {
    "flash_attention_2": ("flash-attn", ((8, 0), (13, 0))),
    "flash_attention_3": ("flash-attn-3", ((9, 0), (9, 1))),
    "flash_attention_4": ("flash-attn-4", ((9, 0), (12, 0))),
}
"""The package behind each kind, by transformers' name, and the compute capabilities that it is
written for: from the first on, and below the second (its documentation)."""


@dataclass(frozen=True, kw_only=True)
class _Target:
    """The GPU, and the torch that is to run on it; `build` is None where it is not known."""

    gpu: Accelerator
    capability: cuda.Version
    torch: str
    build: cuda.TorchBuild | None
    where: KeyPath
    """What of the recipe chose torch's version: its own, or with the default the GPU."""


def rules(recipe: Recipe) -> Iterator[Broken]:
    """Every rule that a recipe for a GPU breaks."""
    gpu = find_accelerator(recipe.hardware.accelerator)
    if gpu is None or gpu.compute_capability is None:
        return
    key, given = _pinned(recipe, "torch")
    torch = _exact(given or stack.load().cuda["torch"])
    target = _Target(
        gpu=gpu,
        capability=gpu.compute_capability,
        torch=torch,
        build=cuda.torch_builds().get(torch),
        where=("image", "versions", key) if given else ("hardware", "accelerator"),
    )
    for rule in _RULES:
        yield from rule(recipe, target)


def _pinned(recipe: Recipe, package: str) -> tuple[str, str]:
    """The key and the version by which the recipe pins a package; empty where it does not."""
    for key, version in recipe.image.versions.items():
        if stack.normalized(key) == package:
            return key, version
    return "", ""


def _exact(version: str) -> str:
    """A version without the operator before it, if that asks for this very version."""
    return re.sub(r"^===?\s*", "", version.strip())


def _unknown_build(_: Recipe, target: _Target) -> Iterator[Broken]:
    if target.build is not None:
        return
    message = f"which GPUs and drivers torch {target.torch} is built for is not known"
    if target.torch.endswith("+cpu"):
        message = f"torch {target.torch} is built for CPUs, and cannot use an {target.gpu.title}"
    yield Broken(
        path=target.where,
        message=message,
        hint=f"remove it, or name one of: {', '.join(cuda.torch_builds())}",
    )


def _capability(recipe: Recipe, target: _Target) -> Iterator[Broken]:
    build = target.build
    if build is None or build.runs_on(target.capability):
        return
    yield Broken(
        path=target.where,
        message=f"torch {build.version} has no code for an {target.gpu.title}: it is built for"
        f" {', '.join(build.architectures)}, and that GPU has compute capability"
        f" {cuda.shown(target.capability)}",
        hint=_other_torch(recipe, target) or "name another GPU in `hardware.accelerator`",
    )


def _driver(recipe: Recipe, target: _Target) -> Iterator[Broken]:
    build, driver = target.build, recipe.hardware.driver
    if build is None or driver is None or _runs_with(build, driver):
        return
    least = cuda.least_driver(build.cuda)
    other = _other_torch(recipe, target)
    yield Broken(
        path=("hardware", "driver"),
        message=f"torch {build.version} brings CUDA {cuda.shown(build.cuda)}, which needs an NVIDIA"
        f" driver from {least} on; this one is {driver}",
        hint=f"update the driver{', or ' + other if other else ''}",
    )


def _runs_with(build: cuda.TorchBuild, driver: str | None) -> bool:
    return driver is None or cuda.numbers(driver) >= cuda.numbers(cuda.least_driver(build.cuda))


def _other_torch(recipe: Recipe, target: _Target) -> str:
    """The newest torch that runs on this GPU with this driver, as a hint; empty: there is none."""
    for build in cuda.torch_builds().values():
        if build.runs_on(target.capability) and _runs_with(build, recipe.hardware.driver):
            return (
                f"take torch {build.version}, built with CUDA {cuda.shown(build.cuda)}:"
                f" `image: {{versions: {{torch: {build.version}}}}}`"
            )
    return ""


def _bfloat16(recipe: Recipe, target: _Target) -> Iterator[Broken]:
    if target.gpu.bfloat16:
        return
    asked: dict[KeyPath, bool] = {
        ("architecture", "dtype"): recipe.architecture.dtype == "bfloat16",
        ("training", "mixed_precision"): recipe.training.mixed_precision == "bf16",
    }
    for path, given in asked.items():
        if given:
            yield Broken(
                path=path,
                message=f"an {target.gpu.title} does not compute in bfloat16: that begins with"
                f" compute capability 8.0, and it has {cuda.shown(target.capability)}",
                hint="use float32 weights with `training.mixed_precision: fp16`",
            )


def _flash(recipe: Recipe, target: _Target) -> Iterator[Broken]:
    chosen = recipe.architecture.attention or ""
    if chosen not in _FLASH:
        return
    package, (first, end) = _FLASH[chosen]
    half = recipe.architecture.dtype == "bfloat16" or recipe.training.mixed_precision != "none"
    if not first <= target.capability < end:
        message = f"{chosen} is not written for an {target.gpu.title}"
        hint = "use sdpa: it has flash kernels of its own, and takes them where it can"
    elif not half:
        message = f"{chosen} computes in 16 bits, and the recipe in 32"
        hint = "set `training.mixed_precision: bf16`, or use sdpa"
    elif not _pinned(recipe, package)[1]:
        message = f"{chosen} needs the package {package}, which is not in the stack"
        hint = (
            "use sdpa, which has flash kernels of its own; or build a wheel for this torch and"
            f" CUDA, add its folder to pip's find-links, and name it: `image: {{versions:"
            f" {{{package}: VERSION}}}}`"
        )
    else:
        return
    yield Broken(path=("architecture", "attention"), message=message, hint=hint)


def _compiler(recipe: Recipe, _: _Target) -> Iterator[Broken]:
    if recipe.architecture.attention == "flex_attention" and not recipe.image.jit:
        yield Broken(
            path=("architecture", "attention"),
            message="flex_attention is compiled on the GPU's machine, by Triton, and the image has"
            " no C compiler",
            hint="set `image: {jit: true}`, or use sdpa",
        )


def _bitsandbytes(recipe: Recipe, target: _Target) -> Iterator[Broken]:
    chosen = stack.load()
    wanted = {
        **chosen.methods.get(recipe.method.type, {}),
        **chosen.training.get(recipe.training.optimizer, {}),
    }
    key, given = _pinned(recipe, "bitsandbytes")
    version = _exact(given or wanted.get("bitsandbytes", ""))
    majors = cuda.bitsandbytes_majors(version)
    if target.build is None or majors is None or target.build.cuda[0] in majors:
        return
    yield Broken(
        path=("image", "versions", key) if given else target.where,
        message=f"bitsandbytes {version} has no library for CUDA {cuda.shown(target.build.cuda)},"
        f" which torch {target.torch} brings",
        hint="name other versions of the two in `image.versions`",
    )


_RULES: tuple[Callable[[Recipe, _Target], Iterator[Broken]], ...] = (
    _unknown_build,
    _capability,
    _driver,
    _bfloat16,
    _flash,
    _compiler,
    _bitsandbytes,
)
