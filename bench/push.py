"""`recipec push` beside `skopeo copy --preserve-digests`, with the same image and registry.

    python -m bench.push [--times N]

Whole commands, in turns: each push goes to a docker-registry of its own with empty storage, since
one that knows the blobs would write less. skopeo reads the OCI layout that recipec wrote. Wall
clock, and the commands' own CPU time, which a busy machine disturbs less. After each cold push: the
same push again. At the end: the bytes that requests carry after an edit of the recipe.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path

from bench.image import _project
from bench.timing import Measured, command, measure, show
from tests.support.daemons import Registry, registry
from tests.support.faults import proxy

RECIPEC = [sys.executable, "-m", "recipec.cli.main"]


def main() -> None:
    """Build the example, push it in turns, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="pushes of each kind")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory(prefix="bench-push-") as name:
        work = Path(name)
        recipe = _project(work) / "recipes/legal-t5.yaml"
        command([*RECIPEC, "build", str(recipe)])
        layout = recipe.parents[1] / "build/legal-t5/image"
        print(f"{_size(layout) / 1e6:.0f} MB in {len(_blobs(layout))} files, {times} times\n")
        kinds = ("recipec", "skopeo")
        tables: dict[str, dict[str, list[float]]] = {
            title: {kind: [] for kind in kinds}
            for title in ("cold push", "cold push, CPU", "again", "again, CPU")
        }
        for number in range(times):
            # In turns, and the other one first in every second round.
            for kind in sorted(kinds, reverse=bool(number % 2)):
                with registry(work / f"registry-{kind}-{number}") as served:
                    words = _words(kind, recipe, layout, served)
                    for title in ("cold push", "again"):
                        wall, used = _run(words)
                        tables[title][kind].append(wall)
                        tables[f"{title}, CPU"][kind].append(used)
        for title, seconds in tables.items():
            _table(title, seconds)
        _edited(work, recipe)


def _words(kind: str, recipe: Path, layout: Path, served: Registry) -> list[str]:
    if kind == "recipec":
        return [*RECIPEC, "push", str(recipe), f"{served.host}/bench/legal-t5:v1"]
    words = ["skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
    reference = json.loads((layout / "index.json").read_bytes())["manifests"][0]["annotations"][
        "org.opencontainers.image.ref.name"
    ]
    return [*words, f"oci:{layout}:{reference}", f"docker://{served.host}/bench/legal-t5:v1"]


def _run(words: list[str]) -> tuple[float, float]:
    """Seconds of a command: on the wall, and of the CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = measure(words[0], lambda: command(words)).median
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _table(title: str, seconds: dict[str, list[float]]) -> None:
    rows = [Measured(name=kind, seconds=tuple(found)) for kind, found in seconds.items()]
    print(title)
    show(rows, against=rows[1])
    pairs = [ours / theirs for ours, theirs in zip(*seconds.values(), strict=True)]
    print(f"paired ratios: {', '.join(f'{ratio:.2f}' for ratio in pairs)}\n")


def _edited(work: Path, recipe: Path) -> None:
    """Bytes of the request bodies that a push after an edit of the recipe sends."""
    with registry(work / "registry-edited") as served, proxy(served.host) as counting:
        place = f"{counting.host}/bench/legal-t5"
        command([*RECIPEC, "push", str(recipe), f"{place}:v1"])
        first, counting.sent = counting.sent, 0
        recipe.write_text(recipe.read_text().replace("seed: 7", "seed: 8"))
        command([*RECIPEC, "build", str(recipe)])
        command([*RECIPEC, "push", str(recipe), f"{place}:v2"])
        print(f"bodies sent: {first:,} bytes at first, {counting.sent:,} after an edit")


def _blobs(layout: Path) -> list[Path]:
    return sorted((layout / "blobs/sha256").iterdir())


def _size(layout: Path) -> int:
    return sum(blob.stat().st_size for blob in _blobs(layout))


if __name__ == "__main__":
    main()
