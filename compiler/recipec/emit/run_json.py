"""run.json: the one contract between the compiler and the runtime.

In: settings, lock and the emitted files. Out: its bytes. It holds no run id and no image digest,
because it lies inside the image that they name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from recipec.pins.lockfile import Lock
from recipec.plan.plan import Settings
from recipec.store import sha256

VERSION = 1


def run_json(settings: Settings, lock: Lock, files: Mapping[str, bytes]) -> bytes:
    """The contract's text: sorted keys, ASCII. `files` are the recipe's other files."""
    plain: dict[str, object] = {
        "version": VERSION,
        "name": settings.name,
        "reproducibility": settings.hardware.reproducibility,
        "hardware_class": settings.hardware.hardware_class,
        "threads": settings.hardware.threads,
        "world_size": settings.hardware.world_size,
        "environment": dict(settings.hardware.environment),
        "scripts": {"train": "recipe/train.py", "evaluate": "recipe/evaluate.py"},
        "inputs": _inputs(lock, files),
        "gates": {
            "at_least": dict(settings.evaluation.at_least),
            "at_most": dict(settings.evaluation.at_most),
        },
        "model": {
            "source": settings.model.source,
            "commit": settings.model.commit,
            "license": settings.model.license,
        },
    }
    if settings.hardware.device != "cpu":
        plain["accelerator"] = {
            "device": settings.hardware.device,
            "name": settings.hardware.accelerator,
            "capability": settings.hardware.capability,
        }
    if settings.hardware.parallelism != "none":
        plain["parallelism"] = {
            "type": settings.hardware.parallelism,
            "nodes": settings.hardware.nodes,
            "processes": settings.hardware.processes,
        }
    if settings.adapted is not None:
        name, run_id = settings.adapted
        plain["adapted"] = {"name": name, "run_id": run_id}
    return (json.dumps(plain, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")


def data_path(split: str) -> str:
    """Where a split's rows lie under the root, whatever they were read from."""
    return f"data/{split}.jsonl"


def _inputs(lock: Lock, files: Mapping[str, bytes]) -> list[dict[str, object]]:
    found = [(f"model/{file.path}", file.sha256, file.size) for file in lock.model.files]
    found += [(data_path(file.split), file.sha256, file.size) for file in lock.data]
    found += [(f"recipe/{name}", sha256(data), len(data)) for name, data in files.items()]
    return [{"path": path, "sha256": digest, "size": size} for path, digest, size in sorted(found)]
