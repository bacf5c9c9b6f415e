"""Training of a built image under qemu's user-mode emulation of another CPU.

The image's layers are unpacked as the sandbox does it and merged into one folder. qemu then starts
the image's own Python through the image's own dynamic loader: nothing of this machine's torch or C
library is used, and no root is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from recipec.cli.state import STATE, image_from_plain
from recipec.engines.engine import read_config
from recipec.engines.unpack import unpack_layers
from recipec.store import Store
from recipec_runtime import contract, pin
from tests.support.settings import outputs
from tests.support.training import environment


def merged_root(build: Path, store: Store, root: Path) -> dict[str, str]:
    """Put the image of a build folder below `root`; the image's own environment."""
    image = image_from_plain(json.loads((build / STATE).read_bytes())["image"])
    root.mkdir(parents=True)
    for tree in unpack_layers(image.layers, store, jobs=2):
        subprocess.run(
            ["cp", "-a", "--no-preserve=ownership", f"{tree.folder}/.", root], check=True
        )
    return dict(read_config(image, store).environment)


def train_under_qemu(build: Path, store: Store, folder: Path, *, cpu: str, run_id: str) -> Path:
    """Train the build under an emulated CPU; the folder with what came out."""
    root, output = folder / "root", folder / "out"
    environment = merged_root(build, store, root)
    output.mkdir()
    contract = json.loads((root / "opt/recipec/recipe/run.json").read_bytes())
    packages = next(root.glob("usr/local/lib/python3.*/dist-packages"))
    environment |= contract["environment"] | {
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "HOME": str(folder),
        "PYTHONHOME": f"{root}/usr",
        "PYTHONPATH": f"{packages}:{root}/opt/recipec/runtime",
        "RECIPEC_ENGINE": "sandbox",
        "RECIPEC_OUTPUT": str(output),
        # A process that would have to replace itself to pin its variables would leave qemu: it
        # must stop instead.
        "RECIPEC_PINNED": "1",
        "RECIPEC_ROOT": f"{root}/opt/recipec",
        "RECIPEC_RUN_ID": run_id,
        "TMPDIR": str(folder),
    }
    emulator = shutil.which("qemu-x86_64")
    assert emulator is not None, "the tests need Debian's qemu-user"
    libraries = f"{root}/usr/lib/x86_64-linux-gnu:{root}/usr/lib"
    python = next(root.glob("usr/bin/python3.*"))
    command = [emulator, "-cpu", cpu, f"{root}/usr/lib64/ld-linux-x86-64.so.2"]
    command += ["--library-path", libraries, str(python), "-m", "recipec_runtime", "train"]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return output


def train_on_host_cpu(root: Path, output: Path, *, cpu: str | None = None) -> Mapping[str, str]:
    """Train an emitted recipe with this Python's own packages, on this CPU or an emulated one.

    The digest of every file that must be reproducible.
    """
    spec = contract.parse((root / "recipe/run.json").read_bytes())
    variables = environment(root, output, RECIPEC_PINNED="1", **pin.required(spec))
    command = [os.path.realpath(sys.executable)]
    if cpu is not None:
        emulator = shutil.which("qemu-x86_64")
        assert emulator is not None, "the tests need Debian's qemu-user"
        command = [emulator, "-cpu", cpu, *command]
        # Started by its real name, Python would not see the packages of its virtual environment.
    variables["PYTHONPATH"] = os.pathsep.join(
        [variables["PYTHONPATH"], *(p for p in sys.path if p.endswith("site-packages"))]
    )
    done = subprocess.run(
        [*command, "-m", "recipec_runtime", "train"],
        env=variables,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return outputs(output)
