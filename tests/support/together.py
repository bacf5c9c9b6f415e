"""Stages that several processes run together, each forked from one that has the imports behind it.

How a machine's processes are started, signalled and ended is for the tests of `processes`. Here
each is told its place as torchrun would tell it.
"""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recipec.emit.script import emit_bundle
from recipec.store import write_atomically
from recipec_runtime import contract, pin, ranks
from recipec_runtime.ranks import Ranks
from tests.support.cells import compiled, recipe_text
from tests.support.settings import outputs
from tests.support.training import base, environment
from tests.support.warm import run_warm_together


def run_together(
    stage: str, root: Path, output: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    """One stage in as many processes as run.json says; what came of the first, or of a failure."""
    spec = contract.parse((root / "recipe" / "run.json").read_bytes())
    pinned = pin.required(spec)
    with socket.socket() as probe:
        probe.bind((ranks.ADDRESS, 0))
        port = probe.getsockname()[1]
    first = Ranks(world_size=spec.world_size, master_port=port)
    own = {**environment(root, output, **more), **pinned, "GLOO_SOCKET_IFNAME": "lo"}
    told = [own | ranks.of_process(first, rank) for rank in range(spec.world_size)]
    done = run_warm_together(stage, told, pinned, cwd=root)
    failed = [one for one in done if one.returncode]
    # that another is gone is no reason
    failed.sort(key=lambda one: "another process of the run is gone" in one.stderr)
    return [*failed, done[0]][0]


def trained_together(root: Path, output: Path, **more: str) -> Mapping[str, str]:
    """Train to the end; the digest of every file that must be reproducible."""
    done = run_together("train", root, output, **more)
    assert done.returncode == 0, done.stderr
    assert not (output / "checkpoint").exists()
    return outputs(output)


def place(
    root: Path, task: str, method: str, model_type: str, rows: int, knobs: Mapping[str, Any]
) -> Path:
    """`root` with a cell's recipe that knows of `rows` training rows; the root."""
    shutil.copytree(base(model_type), root)
    train = root / "data" / "train.jsonl"
    train.write_text("".join(train.read_text().splitlines(keepends=True)[:rows]))
    settings, lock = compiled(root, recipe_text(task, method, model_type, knobs))
    for name, content in emit_bundle(settings, lock):
        write_atomically(root / "recipe" / name, content)
    return root


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The second's values over the first's, section by section."""
    found = dict(first)
    for name, value in second.items():
        whole = isinstance(value, Mapping)
        found[name] = merged(found.get(name, {}), value) if whole else value
    return found


def weights(folder: Path) -> dict[str, tuple[str, Any]]:
    """Dtype and values of every tensor in a folder's safetensors files, by file and name."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        body = memoryview(data)[8 + length :]
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                values = _numbers(entry["dtype"], body[start:end]).reshape(entry["shape"])
                found[f"{path.name} {name}"] = (entry["dtype"], values)
    return found


def _numbers(dtype: str, data: memoryview) -> Any:
    if dtype == "BF16":  # the upper half of a 32-bit float
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, {"F32": np.float32, "F16": np.float16, "I64": np.int64}[dtype])


def difference(first: Path, second: Path) -> float:
    """The largest difference of two models' weights, whose names, dtypes and shapes are equal."""
    ours, theirs = weights(first), weights(second)
    kinds = [{n: (d, v.shape) for n, (d, v) in w.items()} for w in (ours, theirs)]
    assert kinds[0] == kinds[1]
    assert kinds[0]
    return max(
        float(np.abs(values.astype(np.float64) - theirs[name][1].astype(np.float64)).max())
        for name, (_, values) in ours.items()
    )
