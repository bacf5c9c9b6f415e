"""The texts of a Dockerfile that gives the files of our own image.

In: the image's config as JSON values, a lock, the wheel of pip. Out: a `Bundle` of Dockerfile,
requirements.txt and folders.py: the same bytes for the same arguments, and no host's name in them.
It reads no layer and writes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from recipec.emit.bundle import Bundle
from recipec.emit.script import render
from recipec.errors import UsageError
from recipec.pins.lockfile import Lock, Wheel

_PIP = (
    *("install", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile"),
    *("--no-cache-dir", "--ignore-installed", "--break-system-packages"),
    *("--root-user-action", "ignore", "--disable-pip-version-check", "--no-input"),
    "--no-warn-script-location",
)
"""`--ignore-installed`: what the base brings is the base's, and ours goes beside it."""


def dockerfile_bundle(
    config: Mapping[str, Any],
    lock: Lock,
    *,
    name: str,
    pip: Wheel,
    root: str,
    copied: Sequence[str],
    folders: Mapping[str, int],
    offline: bool,
) -> Bundle:
    """Dockerfile, requirements.txt, folders.py and wheels/README.

    `copied` are folders of the context that go below `root`, `folders` modes of folders that must
    be there; `offline` says that every wheel lies in the context. Raises UsageError for a text that
    a Dockerfile cannot hold.
    """
    settings, python = config["config"], f"/usr/bin/python{lock.platform.python}"
    pairs = [value.partition("=")[::2] for value in settings["Env"]]
    words = {
        "name": name,
        "debian": lock.platform.debian,
        "python": lock.platform.python,
        "offline": offline,
        "packages": len(lock.debs),
        "platform": f"{config['os']}/{config['architecture']}",
        "install": _json([python, f"/run/pip/{pip.file}/pip", *_PIP, *_sources(offline)]),
        "folders": _json([python, "-B", "/run/folders.py"]),
        "copied": list(copied),
        "root": root,
        "environment": [_pair(key, value) for key, value in pairs],
        "labels": [_pair(key, value) for key, value in sorted(settings["Labels"].items())],
        "user": settings["User"],
        "workdir": settings["WorkingDir"],
        "entrypoint": _json(settings["Entrypoint"]),
        "command": _json(settings["Cmd"]),
    }
    files = {
        "Dockerfile": render("dockerfile/Dockerfile.j2", words),
        "folders.py": render("dockerfile/folders.py.j2", _needed(settings["User"], folders)),
        "requirements.txt": _requirements(lock),
        "wheels/README": "Wheels in this folder are taken before those of an index.\n",
    }
    return Bundle.of({path: text.encode("utf-8") for path, text in files.items()})


def _sources(offline: bool) -> list[str]:
    """Where pip looks beside what its own configuration says."""
    wanted = ["--find-links", "/run/wheels", "--requirement", "/run/requirements.txt"]
    return ["--no-index", *wanted] if offline else wanted


def _needed(user: str, folders: Mapping[str, int]) -> dict[str, Any]:
    uid, _, gid = user.partition(":")
    return {
        "folders": {path: f"{mode:o}" for path, mode in sorted(folders.items())},
        "accounts": {
            "/etc/group": f"recipec:x:{gid}:",
            "/etc/passwd": f"recipec:x:{uid}:{gid}:recipec:/tmp:/usr/sbin/nologin",
        },
    }


def _requirements(lock: Lock) -> str:
    """Every wheel by its exact version and hash, in the order of names."""
    lines = [
        f"{wheel.name}=={wheel.version} \\\n    --hash={wheel.sha256}\n"
        for wheel in sorted(lock.wheels, key=lambda wheel: wheel.name)
    ]
    return f"# {len(lines)} wheels for Python {lock.platform.python}, {lock.platform.wheels}\n" + (
        "".join(lines)
    )


def _json(words: Sequence[str]) -> str:
    """A command in the form that needs no shell."""
    return json.dumps(list(words))


def _pair(key: str, value: str) -> str:
    """`KEY="VALUE"` with what Dockerfiles read in quotes escaped."""
    if not key.isascii() or re.search(r"[\x00-\x1f\x7f]", key + value):
        raise UsageError(
            f"a Dockerfile cannot hold {key} = {value!a}",
            hint="it holds text on one line only; remove the control characters from the recipe",
        )
    return f'{key}="' + re.sub(r'([\\"$])', r"\\\1", value) + '"'
