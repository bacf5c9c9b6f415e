"""Prints what `make demo` made: image, layers, run id, metrics before and after, where it lies.

In: the path of a built and trained recipe. Out: a table on stdout; exit code 4 when the recipe's
lock promises other weights than these.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recipec.cli.compile import compile_recipe, read_lock
from recipec.cli.console import size, table
from recipec.cli.lock import read_receipt
from recipec.cli.project import find_project
from recipec.cli.run import compare_with_lock, read_metrics
from recipec.errors import MISMATCH, OK
from recipec.progress import Silent
from recipec.store import Store


def main() -> int:
    """Print the report of one recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    project = find_project(parser.parse_args().recipe)
    built = compile_recipe(project, store=Store(), progress=Silent(), locked=True)
    folder = built.folder
    layers = [
        (layer.kind, _short(layer.name), size(layer.blob.size), layer.blob.digest[:19])
        for layer in built.image.layers
    ]
    print(table("layers", layers, head=("kind", "name", "size", "digest")))
    print()
    for split, groups in read_metrics(folder / "evaluate").items():
        order = sorted(groups, key=lambda name: groups[name].get("rougeL", 0.0))
        names = sorted({name for group in groups.values() for name in group})
        rows = [[name, *(_number(groups[who].get(name)) for who in order)] for name in names]
        print(table(f"metrics on {split}", rows, head=("", *order)))
    print()
    receipt = read_receipt(built, "train") or {}
    weights = [
        (path, digest)
        for path, digest in receipt.get("outputs", {}).items()
        if path.endswith(".safetensors")
    ]
    same = compare_with_lock(built)
    verdict = {
        True: "yes: these are the very bytes that the lock promises",
        False: "NO: the lock promises other bytes; run `recipec verify`",
        None: "the lock promises none",
    }[same]
    facts = [
        ("image", built.image.manifest.digest),
        ("run id", built.run_id),
        *((f"weights {path}", digest) for path, digest in weights),
        ("same as the lock", verdict),
        ("image layout", project.shown(folder / "image")),
        ("script", project.shown(folder / "train.py")),
        ("trained model", project.shown(folder / "train" / "model")),
        ("receipts", project.shown(folder / "train" / "receipt.json")),
    ]
    print(table("made", facts))
    lock = read_lock(project)
    return MISMATCH if same is False or lock is None else OK


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
