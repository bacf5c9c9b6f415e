"""The lock of Debian packages beyond the base: pinned with what they depend on, and kept."""

from __future__ import annotations

from typing import Any

import pytest

from recipec.errors import NoSuchPackage, StaleLock
from recipec.pins.lockfile import Lock, Platform, from_json, to_json
from tests.support.upstreams import mirror_files
from tests.unit.pins.test_make_lock import World, versions, world

__all__ = ["world"]

FIELDS = {"shell": "Depends: libc6, libread (>= 1), debconf | debconf-2.0", "libread": ""}
DEBS = {"libc6": "2", "zlib1g": "1", "shell": "5", "libread": "1", "unrelated": "1"}


def publish(world: World, debs: dict[str, str] = DEBS, fields: dict[str, str] = FIELDS) -> None:
    world.debs = debs
    world.publish()
    world.site.files |= mirror_files(debs, fields=fields)


def lock(world: World, *extra: str, **options: Any) -> Lock:
    return world.lock(extra=extra, **options).lock


def debs(lock: Lock) -> dict[str, str]:
    return {deb.package: deb.version for deb in lock.debs}


def test_packages_come_with_what_they_depend_on(world: World) -> None:
    publish(world)
    made = lock(world, "shell")
    assert debs(made) == {"libc6": "2", "libread": "1", "shell": "5", "zlib1g": "1"}
    assert made.packages == ("shell",)
    assert from_json(to_json(made)) == made
    assert all(world.store.has(deb.sha256) for deb in made.debs)


def test_a_lock_without_them_has_no_such_key(world: World) -> None:
    publish(world)
    assert b'"packages"' not in to_json(lock(world))
    # What the base has already is not asked for twice.
    assert lock(world, "libc6").packages == ()


def test_nothing_is_asked_again_while_it_fits(world: World) -> None:
    publish(world)
    first = lock(world, "shell")
    world.site.requests.clear()
    assert lock(world, "shell", old=first) == first
    assert lock(world, "shell", old=first, locked=True) == first
    assert world.site.requests == []


def test_one_more_package_moves_no_other(world: World) -> None:
    publish(world)
    first = lock(world)
    world.site.files |= mirror_files({"libc6": "3"}, suite="bookworm-updates")
    result = world.lock(old=first, extra=("shell",))
    assert debs(result.lock)["libc6"] == "2"
    assert "package asked for: shell" in result.changes
    assert "deb added: libread 1" in result.changes
    back = world.lock(old=result.lock)
    assert "package no longer asked for: shell" in back.changes
    assert debs(back.lock) == {"libc6": "3", "zlib1g": "1"}
    anew = world.lock(extra=("shell",))
    assert debs(anew.lock)["libc6"] == "3"


def test_locked_refuses_another_set(world: World) -> None:
    publish(world)
    first = lock(world)
    with pytest.raises(StaleLock) as caught:
        lock(world, "shell", old=first, locked=True)
    assert caught.value.message == ("the lock does not fit: package asked for: shell")


def test_what_was_dropped_is_pinned_anew_and_the_rest_kept(world: World) -> None:
    publish(world)
    first = lock(world, "shell")
    world.empty_cache()
    publish(world, {**DEBS, "shell": "6"})
    result = world.lock(old=first, extra=("shell",))
    assert debs(result.lock) == {"libc6": "2", "libread": "1", "shell": "6", "zlib1g": "1"}
    assert "shell 5 is gone upstream: pinned 6 instead" in result.notices


def test_a_newer_package_may_need_a_newer_one(world: World) -> None:
    publish(world)
    first = lock(world, "shell")
    world.empty_cache()
    newer = {**DEBS, "shell": "6", "libread": "2"}
    publish(world, newer, {"shell": "Depends: libread (= 2)"})
    assert debs(lock(world, "shell", old=first))["libread"] == "2"


def test_another_base_pins_everything_anew(world: World) -> None:
    publish(world)
    first = lock(world, "shell")
    world.site.files |= mirror_files({**DEBS, "libc6": "9"}, suite="trixie", fields=FIELDS)
    changed = world.lock(old=first, extra=("shell",), platform=Platform(debian="trixie"))
    assert "platform, debian: bookworm -> trixie" in changed.changes
    assert debs(changed.lock)["libc6"] == "9"
    assert versions(changed.lock)["alpha"] == "1.0"


def test_a_name_that_no_archive_has(world: World) -> None:
    publish(world)
    with pytest.raises(NoSuchPackage) as caught:
        lock(world, "shall")
    assert (caught.value.package, caught.value.hint) == ("shall", "did you mean shell?")
