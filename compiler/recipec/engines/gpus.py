"""The NVIDIA GPUs of this machine, and what a container needs of their driver.

In: what the kernel, the linker's cache and the folders of CDI specifications tell. Out: a frozen
`Gpus`, and in words what is missing. It loads no library of the driver and changes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KIND = "nvidia.com/gpu"
"""The kind of NVIDIA's devices in CDI specifications."""

CDI_FOLDERS = ("etc/cdi", "var/run/cdi")
TOOLKIT = ("nvidia-ctk", "nvidia-container-runtime-hook", "nvidia-cdi-hook")
"""Programs of NVIDIA's container toolkit, any of which shows that it is installed."""

LIBRARY_FOLDER = "/usr/local/nvidia/lib64"
"""Where the sandbox shows the driver's libraries: the image's LD_LIBRARY_PATH has it."""

_NEEDED = ("libcuda.so.1", "libnvidia-ml.so.1")
_LIBRARIES = re.compile(
    r"lib(cuda|nvidia-(allocator|cfg|gpucomp|ml|nvvm|nvvm70|pkcs11|pkcs11-openssl3|ptxjitcompiler))"
    r"\.so\.[0-9.]+"
)
"""What the container toolkit gives to programs that compute, less OpenCL and the debugger."""

_DEVICES = re.compile(r"nvidia([0-9]+|ctl|-uvm|-uvm-tools)")
_MINOR = re.compile(r"nvidia[0-9]+")

NO_DRIVER = (
    "there is no NVIDIA driver here: install it (`apt install nvidia-driver`, or"
    " nvidia.com/drivers), or run on a machine with a GPU"
)
TOOLKIT_HINT = (
    "install nvidia-container-toolkit (docs.nvidia.com/datacenter/cloud-native/container-toolkit)"
)


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """What was found. `libraries` are names that programs ask for and the files behind them."""

    driver: str
    """Version of the kernel module; empty without one."""
    models: tuple[str, ...]
    devices: tuple[str, ...]
    """Device files, such as /dev/nvidia0 and /dev/nvidiactl."""
    libraries: tuple[tuple[str, str], ...]
    cdi: tuple[str, ...]
    """Names of the devices in CDI specifications, such as `0`, `all`."""
    toolkit: str
    """Path of a program of the container toolkit; empty without it."""

    @property
    def count(self) -> int:
        """GPUs that have a device file."""
        return sum(bool(_MINOR.fullmatch(Path(device).name)) for device in self.devices)

    def lacks(self, count: int) -> str | None:
        """None if there are `count` GPUs and a driver; else what is missing and what to do."""
        if not self.driver:
            return NO_DRIVER
        if self.count < count:
            return (
                f"the NVIDIA driver {self.driver} shows {self.count} GPUs, and the recipe wants"
                f" {count}: `nvidia-smi` tells more"
            )
        return None

    def lacks_libraries(self) -> str | None:
        """None if the driver's libraries were found; else which one is not there."""
        known = {name for name, _ in self.libraries}
        missing = [name for name in _NEEDED if name not in known]
        if missing:
            return (
                f"`ldconfig -p` lists no {' and no '.join(missing)}: install the driver's"
                " libraries (`apt install libcuda1 libnvidia-ml1`)"
            )
        return None

    def lacks_cdi(self, names: Sequence[str]) -> str | None:
        """None if a CDI specification has all these devices; else what to do."""
        if missing := sorted(set(names) - set(self.cdi)):
            where = "`sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
            first = "" if self.toolkit else f"{TOOLKIT_HINT}, then "
            return f"no CDI specification has {KIND}={missing[0]}: {first}{where}"
        return None


def look(root: Path = Path("/"), cache: str | None = None) -> Gpus:
    """Look at this machine; `root` is where /proc, /dev, /etc and /var lie.

    `cache` is what `ldconfig -p` says; None asks it.
    """
    about = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    names = os.listdir(root / "dev") if (root / "dev").is_dir() else []  # noqa: PTH208 - names only
    return Gpus(
        driver=_driver(root / "proc/driver/nvidia/version"),
        models=tuple(filter(None, map(_model, about))),
        devices=tuple(f"/dev/{name}" for name in sorted(names) if _DEVICES.fullmatch(name)),
        libraries=_libraries(_linker_cache() if cache is None else cache),
        cdi=_cdi(root),
        toolkit=next(filter(None, map(shutil.which, TOOLKIT)), ""),
    )


def chosen(count: int) -> tuple[str, ...]:
    """The GPUs that a run gets: the first of CUDA_VISIBLE_DEVICES if that is set, or of all."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    named = [name for name in visible if name]
    return tuple(named[:count]) if len(named) >= count else tuple(map(str, range(count)))


def _driver(file: Path) -> str:
    match = re.search(r"\b[0-9]{3,}\.[0-9.]+\b", _text(file))
    return match[0] if match else ""


def _model(file: Path) -> str:
    match = re.search(r"^Model:\s*(.+?)\s*$", _text(file), re.MULTILINE)
    return match[1] if match else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _linker_cache() -> str:
    """What the dynamic linker knows; empty where `ldconfig` is not to be had."""
    program = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    if program is None:
        return ""
    done = subprocess.run([program, "-p"], capture_output=True, text=True, check=False)
    return done.stdout


def _libraries(cache: str) -> tuple[tuple[str, str], ...]:
    """The driver's 64-bit libraries; of equal names the linker takes the first."""
    found: dict[str, str] = {}
    for line in cache.splitlines():
        name, _, rest = line.strip().partition(" (")
        kind, _, path = rest.partition(") => ")
        if "x86-64" in kind and _LIBRARIES.fullmatch(name) and path:
            found.setdefault(name, os.path.realpath(path))
    return tuple(sorted(found.items()))


def _cdi(root: Path) -> tuple[str, ...]:
    """Names of NVIDIA's devices in CDI specifications, which are YAML or JSON."""
    files = [
        path
        for folder in CDI_FOLDERS
        for kind in ("*.yaml", "*.json")
        for path in sorted((root / folder).glob(kind))
    ]
    found: set[str] = set()
    for file in files:
        found |= set(_names(file))
    return tuple(sorted(found))


def _names(file: Path) -> list[str]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        plain = YAML(typ="safe", pure=True).load(_text(file))
        if plain["kind"] != KIND:
            return []
        return [str(device["name"]) for device in plain["devices"]]
    except (YAMLError, TypeError, KeyError):
        return []
