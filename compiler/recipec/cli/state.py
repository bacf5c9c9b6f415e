"""What a finished build remembers of itself, so that the next one knows when nothing is to be done.

In: a `Built`, stamps of what it read and wrote. Out: build/NAME/build.json, and from it the same
`Built` again if nothing has moved. On the path of every command: it imports next to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec.cli.project import Project
from recipec.cli.stamps import stamp, stamps, unmoved
from recipec.fingerprint import compiler_fingerprint
from recipec.image.image import Descriptor, Image, Layer
from recipec.store import Store, canonical, sha256, write_atomically

STATE = "build.json"
STATE_FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Built:
    """A finished compile: everything that `build --json` prints and `run` needs."""

    project: Project
    name: str
    run_id: str
    image: Image
    scripts: Mapping[str, str]
    facts: Mapping[str, Any]
    """Reproducibility, hardware class, splits, and whether anything was done."""
    seconds: float
    notices: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """build/NAME."""
        return self.project.folder(self.name)

    def to_plain(self) -> dict[str, Any]:
        """The build as JSON."""
        return {
            "recipe": self.project.shown(self.project.recipe),
            "name": self.name,
            "run_id": self.run_id,
            "image": self.image.manifest.digest,
            "schema2": self.image.schema2.digest,
            "config": self.image.config.digest,
            "scripts": dict(self.scripts),
            "layers": [
                {
                    "kind": layer.kind,
                    "name": layer.name,
                    "digest": layer.blob.digest,
                    "diff_id": layer.diff_id,
                    "size": layer.blob.size,
                    "cache": "hit" if layer.cached else "miss",
                }
                for layer in self.image.layers
            ],
            "size": sum(layer.blob.size for layer in self.image.layers),
            "folder": self.project.shown(self.folder),
            "up_to_date": bool(self.facts["up_to_date"]),
            "reproducibility": self.facts["reproducibility"],
            "hardware_class": self.facts["hardware_class"],
            "seconds": round(self.seconds, 3),
            "notices": list(self.notices),
        }


def remember(
    built: Built,
    sources: Mapping[str, str],
    inputs: Mapping[str, list[int]],
    outputs: list[Path],
    store: Store,
) -> None:
    """Write down what this build depended on and wrote, and that the store's blobs are in use.

    `sources` are the recipe's files, its bases too, with the digests of what was read.
    """
    state = {
        "format": STATE_FORMAT,
        "compiler": compiler_fingerprint(),
        "root": str(built.project.root),
        "recipe": str(built.project.recipe),
        "member": built.project.member,
        "sources": dict(sources),
        "inputs": dict(inputs),
        "outputs": stamps(outputs),
        "built": built.to_plain(),
        "image": _image_to_plain(built.image),
    }
    write_atomically(built.folder / STATE, canonical(state))
    place = str(built.folder / STATE)
    store.put_record("builds", place, {"state": place, "lock": str(built.project.lock)})


def up_to_date(project: Project, store: Store) -> Built | None:
    """The finished build, if nothing that it depends on or wrote has moved since."""
    for folder in _build_folders(project):
        state = read_state(folder)
        if (
            state.get("format") == STATE_FORMAT
            and state["recipe"] == str(project.recipe)
            and state["member"] == project.member
            and state["root"] == str(project.root)
            and _as_read(state["sources"])
            and state["compiler"] == compiler_fingerprint()
            and unmoved(state["inputs"])
            and unmoved(state["outputs"])
        ):
            image = image_from_plain(state["image"])
            if all(store.has(digest) for digest in _blobs(image)):
                return _built_from(project, state["built"], image)
    return None


def restamp(project: Project, path: Path, before: list[int]) -> None:
    """Let the other builds know that a file which they share was written by one of us.

    `before` is its stamp from before: a build that had another one is as stale as it was.
    """
    now = stamp(str(path))
    for folder in _build_folders(project):
        state = read_state(folder)
        outputs = state.get("outputs")
        if isinstance(outputs, dict) and before and outputs.get(str(path)) == before != now:
            outputs[str(path)] = now
            write_atomically(folder / STATE, canonical(state))


def _as_read(sources: Mapping[str, str]) -> bool:
    """Whether the recipe's files still hold what they held."""
    try:
        return all(sha256(Path(path).read_bytes()) == was for path, was in sources.items())
    except OSError:
        return False


def read_state(folder: Path) -> dict[str, Any]:
    """What the build in a folder remembered; empty where there is none that can be read."""
    import json

    try:
        state = json.loads((folder / STATE).read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _build_folders(project: Project) -> list[Path]:
    """The folder of the member's or the recipe file's name first: nearly always the right one."""
    likely = project.build / (project.member or project.recipe.stem)
    try:
        others = sorted(entry.path for entry in os.scandir(project.build) if entry.is_dir())
    except OSError:
        return []
    return [likely, *(Path(path) for path in others if path != str(likely))]


def _blobs(image: Image) -> list[str]:
    """What must lie in the store; another image's layers may be in a registry."""
    layers = (layer.blob for layer in image.layers if not layer.borrowed)
    named = (image.manifest, image.schema2, image.config, *layers)
    return [descriptor.digest for descriptor in named]


def _built_from(project: Project, plain: Mapping[str, Any], image: Image) -> Built:
    return Built(
        project=project,
        name=plain["name"],
        run_id=plain["run_id"],
        image=image,
        scripts=plain["scripts"],
        facts={
            "reproducibility": plain["reproducibility"],
            "hardware_class": plain["hardware_class"],
            "up_to_date": True,
        },
        seconds=0.0,
    )


def _image_to_plain(image: Image) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(image)
    return plain


def image_from_plain(plain: Mapping[str, Any]) -> Image:
    """An image from its state, every layer marked as cached: it is there, nothing is made."""

    def descriptor(row: Mapping[str, Any]) -> Descriptor:
        return Descriptor(media_type=row["media_type"], digest=row["digest"], size=row["size"])

    return Image(
        manifest=descriptor(plain["manifest"]),
        schema2=descriptor(plain["schema2"]),
        config=descriptor(plain["config"]),
        layers=tuple(
            Layer(
                kind=row["kind"],
                name=row["name"],
                blob=descriptor(row["blob"]),
                diff_id=row["diff_id"],
                cached=True,
            )
            for row in plain["layers"]
        ),
    )
