"""How wheels are spread over layers, on the wheels of the committed locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from recipec.emit.bundle import Bundle
from recipec.image.format import BIG_WHEEL
from recipec.image.spec import Spec, layer_specs
from recipec.pins.lockfile import Lock, Wheel, from_json
from recipec.store import sha256

LOCKS = sorted((Path(__file__).parents[3] / "recipes").glob("*.lock.json"))
BUDGET = 64
"""Layers that an image may have: every engine takes as many, with room to build on top."""


def specs_of(lock: Lock, wheels: Sequence[Wheel]) -> dict[str, Spec]:
    """The layers of the wheels alone, by key."""
    lock = replace(lock, wheels=tuple(wheels))
    digests = {deb.sha256 for deb in lock.debs} | {wheel.sha256 for wheel in lock.wheels}
    digests |= {file.sha256 for file in lock.model.files} | {data.sha256 for data in lock.data}
    sources = dict.fromkeys(digests, Path("nowhere"))
    specs = layer_specs(lock, recipe=Bundle.of({}), runtime=Bundle.of({}), sources=sources)
    return {spec.key: spec for spec in specs if spec.kind in ("wheel", "wheels")}


def bumped(wheel: Wheel, size: int | None = None) -> Wheel:
    """The next version of a package."""
    return replace(
        wheel,
        version=f"{wheel.version}.1",
        sha256=sha256(wheel.file.encode()),
        size=wheel.size if size is None else size,
    )


def test_there_are_locks() -> None:
    assert LOCKS


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_new_version_changes_the_layer_that_holds_it_and_no_other(path: Path) -> None:
    lock = from_json(path.read_bytes())
    before = specs_of(lock, lock.wheels)
    assert sum(len(spec.inputs) for spec in before.values()) == len(lock.wheels)
    for place, wheel in enumerate(lock.wheels):
        others = [*lock.wheels[:place], *lock.wheels[place + 1 :]]
        after = specs_of(lock, [*others, bumped(wheel)])
        new, gone = after.keys() - before.keys(), before.keys() - after.keys()
        assert len(new) == len(gone) == 1, wheel.name
        assert [i.name for i in after[new.pop()].inputs] == [
            i.name for i in before[gone.pop()].inputs
        ]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_package_more_or_less_changes_one_layer(path: Path) -> None:
    lock = from_json(path.read_bytes())
    whole = specs_of(lock, lock.wheels)
    for place, wheel in enumerate(lock.wheels):
        fewer = specs_of(lock, [*lock.wheels[:place], *lock.wheels[place + 1 :]])
        changed = whole.keys() ^ fewer.keys()
        assert len(changed) == (1 if wheel.size >= BIG_WHEEL else len(changed & fewer.keys()) + 1)
        assert len(whole.keys() - fewer.keys()) == 1


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_wheel_that_grows_past_the_limit_leaves_its_pool_alone(path: Path) -> None:
    lock = from_json(path.read_bytes())
    wheel = min(lock.wheels, key=lambda w: w.size)
    others = [w for w in lock.wheels if w is not wheel]
    before, after = specs_of(lock, lock.wheels), specs_of(lock, [*others, bumped(wheel, BIG_WHEEL)])
    new = [after[key] for key in after.keys() - before.keys()]
    assert sum(spec.kind == "wheel" for spec in new) == 1
    assert len(new) <= 2


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_the_order_of_the_lock_changes_nothing(path: Path) -> None:
    lock = from_json(path.read_bytes())
    assert list(specs_of(lock, lock.wheels)) == list(specs_of(lock, lock.wheels[::-1]))


@pytest.mark.parametrize("size", [1000, BIG_WHEEL])
def test_no_number_of_wheels_breaks_the_budget(size: int) -> None:
    lock = from_json(LOCKS[0].read_bytes())
    many = [
        replace(lock.wheels[0], name=f"w{n}", sha256=sha256(b"%d" % n), size=size)
        for n in range(500)
    ]
    base_model_data_runtime_recipe = 5
    assert len(specs_of(lock, many)) + base_model_data_runtime_recipe <= BUDGET
