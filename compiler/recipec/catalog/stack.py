"""Reader of stack.toml: which Python packages an image needs, by method, knob and tokenizer.

In: the data file beside this module, a method, the names of the model's files, the recipe's own
versions. Out: PEP 508 requirements in sorted order. It resolves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache

from recipec.catalog.support import read_table

_EXACT = re.compile(r"(==\s*)?(?P<version>[0-9][0-9a-z.]*)")
"""An exact public version: one with no local part behind it."""


_EXACT = re.compile(r"(==\s*)?(?P<version>[0-9][0-9a-z.]*)")
"""An exact public version: one with no local part behind it."""


@dataclass(frozen=True, kw_only=True)
class TokenizerNeed:
    """Requirements of a tokenizer that has one of `files` and no tokenizer.json."""

    files: tuple[str, ...]
    requirements: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Installer:
    """The wheel of the installer of wheels: `sha256` with its prefix, `size` in bytes."""

    name: str
    version: str
    file: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Versions by package name; `*` leaves the version to the resolver."""

    always: Mapping[str, str]
    methods: Mapping[str, Mapping[str, str]]
    tokenizers: tuple[TokenizerNeed, ...] = ()
    training: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cuda: Mapping[str, str] = field(default_factory=dict)
    """What takes the place of `always` on an NVIDIA GPU."""

    def requirements(
        self,
        *,
        method: str,
        files: Collection[str],
        versions: Mapping[str, str],
        training: Collection[str] = (),
        accelerator: str = "cpu",
    ) -> tuple[str, ...]:
        """What the image of such a recipe needs. `versions` replaces or adds by normalized name.

        `training` are the names of its optimizer and trackers. A version is an exact one
        (`5.23.0`), a specifier (`>=5,<6`) or `*`. With an accelerator other than `cpu`, a version
        of torch that is given exactly is that of PyPI's wheel, which is built for CUDA.
        """
        chosen = {normalized(name): version for name, version in self.always.items()}
        versions = {normalized(name): version for name, version in versions.items()}
        if accelerator != "cpu":
            chosen |= {normalized(name): version for name, version in self.cuda.items()}
            exact = _EXACT.fullmatch(versions.get("torch", "").strip())
            if exact:
                versions["torch"] = f"==={exact['version']}"
        chosen |= {normalized(n): v for n, v in self.methods.get(method, {}).items()}
        for name in training:
            chosen |= {normalized(n): v for n, v in self.training.get(name, {}).items()}
        if "tokenizer.json" not in files:
            for need in self.tokenizers:
                if set(need.files) & set(files):
                    chosen |= {normalized(n): v for n, v in need.requirements.items()}
        chosen |= versions
        return tuple(sorted(_requirement(name, version) for name, version in chosen.items()))


@cache
def load() -> Stack:
    """The stack of this version of recipec."""
    table = read_table("stack.toml")
    return Stack(
        always=table["always"],
        methods=table["methods"],
        training=table["training"],
        cuda=table["cuda"],
        tokenizers=tuple(
            TokenizerNeed(files=tuple(row["files"]), requirements=row["requirements"])
            for row in table["tokenizers"].values()
        ),
    )


def installer() -> Installer:
    """What a Dockerfile installs wheels with."""
    return Installer(**read_table("stack.toml")["installer"])


def normalized(name: str) -> str:
    """A package name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirement(name: str, version: str) -> str:
    version = version.strip()
    if version == "*":
        return name
    return f"{name}{version}" if version[:1] in "<>=!~" else f"{name}=={version}"
