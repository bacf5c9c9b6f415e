"""Whether the wheels of an image fit together.

In: the wheel layers. Out: nothing, or UnsafeInput naming two wheels that would put different things
at one path. Two wheels may both bring a file of the same bytes (the `__init__.py` of a shared
namespace such as nvidia/): the layers then agree, whichever comes last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from recipec.errors import UnsafeInput
from recipec.image.names import folders
from recipec.image.record import Placed, member_hash
from recipec.image.spec import Spec
from recipec.image.target import Target
from recipec.image.wheel import install
from recipec.image.zipfiles import ZipFile
from recipec.store import Store


@dataclass(frozen=True, slots=True)
class _Owned:
    wheel: ZipFile
    placed: Placed


def check_collisions(specs: Sequence[Spec], store: Store) -> None:
    """Hold every installed path of every wheel against the others'."""
    from recipec.image.make import verify

    with ExitStack() as stack:
        owned: dict[str, _Owned] = {}
        for source in sorted((i for spec in specs for i in spec.inputs), key=lambda i: i.name):
            verify(source, store)
            target = Target(python=specs[0].python, elsewhere=specs[0].elsewhere)
            wheel = stack.enter_context(ZipFile(source.path, source.name))
            for placed in install(wheel, target):
                there = owned.setdefault(placed.path, _Owned(wheel, placed))
                if there.wheel is not wheel and not _same(there, _Owned(wheel, placed)):
                    raise _collision(there.wheel, wheel, placed.path)
        _check_folders(owned)


def _same(one: _Owned, other: _Owned) -> bool:
    """Whether two files hold the same bytes; only then are they read."""
    return _facts(one.placed) == _facts(other.placed) and _digest(one) == _digest(other)


def _facts(placed: Placed) -> tuple[int, int]:
    if placed.member is None:
        return len(placed.data), -1
    return placed.member.size + len(placed.data), placed.member.crc


def _digest(owned: _Owned) -> bytes:
    member = owned.placed.member
    found = member_hash(owned.wheel, member) if member else hashlib.sha256()
    found.update(owned.placed.data)
    return found.digest()


def _check_folders(owned: dict[str, _Owned]) -> None:
    """One wheel's file must not be another one's folder."""
    for folder, path in folders(owned).items():
        if folder in owned:
            raise _collision(owned[folder].wheel, owned[path].wheel, folder)


def _collision(one: ZipFile, other: ZipFile, path: str) -> UnsafeInput:
    first, second = sorted((one.label, other.label))
    return UnsafeInput(
        f"{first} and {second} both install /{path}, and not the same",
        hint="leave one of the two out of the recipe, or pin versions that do not overlap",
    )
