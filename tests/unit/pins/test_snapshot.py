"""Packages that the mirrors have dropped, from a snapshot service."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.pins.fetch import Upstream
from recipec.pins.lockfile import Deb, Platform
from recipec.progress import Silent
from recipec.store import Store
from tests.support.upstreams import Site, deb_bytes, mirror_files


def upstream(site: Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    monkeypatch.setenv("RECIPEC_APT_MIRROR", f"{site.base}/debian")
    monkeypatch.setenv("RECIPEC_APT_KEYRING", "none")
    return Upstream(
        store=store,
        project=Path("/nowhere"),
        platform=Platform(),
        exclude_newer=None,
        packages=("libc6", "zlib1g"),
        progress=Silent(),
        jobs=2,
    )


def keep_in_snapshot(site: Site, deb: Deb, data: bytes, **changes: object) -> None:
    """What the service would answer of one package, of two architectures."""
    sha1 = hashlib.sha1(data).hexdigest()
    other = {"name": deb.file.replace("amd64", "arm64"), "size": deb.size, "path": "/pool"}
    place = {"name": deb.file, "size": deb.size, "path": "/pool", **changes}
    answer = {
        "result": [{"architecture": "arm64", "hash": "0" * 40}, {"hash": sha1}],
        "fileinfo": {"0" * 40: [other], sha1: [place]},
    }
    path = f"/snapshot/mr/binary/{deb.package}/{deb.version}/binfiles"
    site.files[path] = json.dumps(answer).encode()
    site.files[f"/snapshot/file/{sha1}"] = data


@pytest.fixture
def pins(site: Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> tuple[Deb, ...]:
    """Two pins of which the mirror has dropped the first, and an empty cache."""
    site.files |= mirror_files({"libc6": "2.36-9", "zlib1g": "1:1.2"})
    found = upstream(site, store, monkeypatch).newest_debs(("libc6", "zlib1g"))
    site.files.clear()
    site.files |= mirror_files({"libc6": "2.36-10", "zlib1g": "1:1.2"})
    shutil.rmtree(store.root)
    return found


def test_without_a_service_it_is_gone(
    site: Site, store: Store, pins: tuple[Deb, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = upstream(site, store, monkeypatch).fetch_pinned((), pins)
    assert dropped.names() == ("libc6 2.36-9",)


def test_the_service_has_it(
    site: Site, store: Store, pins: tuple[Deb, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_snapshot(site, pins[0], deb_bytes("libc6", "2.36-9"))
    monkeypatch.setenv("RECIPEC_SNAPSHOT_MIRROR", f"{site.base}/snapshot/")
    asked = upstream(site, store, monkeypatch)
    assert not asked.fetch_pinned((), pins)
    assert store.has(pins[0].sha256)
    assert store.has(pins[1].sha256)
    assert "libc6 2.36-9 is gone from the mirrors: taken from the snapshot service" in asked.notices


def test_the_service_does_not_have_it(
    site: Site, store: Store, pins: tuple[Deb, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECIPEC_SNAPSHOT_MIRROR", f"{site.base}/snapshot")
    assert upstream(site, store, monkeypatch).fetch_pinned((), pins).debs == (pins[0],)
    keep_in_snapshot(site, pins[0], deb_bytes("libc6", "2.36-9"), size=1)
    assert upstream(site, store, monkeypatch).fetch_pinned((), pins).debs == (pins[0],)


def test_a_service_with_other_bytes_is_refused(
    site: Site, store: Store, pins: tuple[Deb, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_snapshot(site, pins[0], bytes(pins[0].size))
    monkeypatch.setenv("RECIPEC_SNAPSHOT_MIRROR", f"{site.base}/snapshot")
    with pytest.raises(HashMismatch):
        upstream(site, store, monkeypatch).fetch_pinned((), pins)
    assert not store.has(pins[0].sha256)


def test_what_is_no_such_service_is_said(
    site: Site, store: Store, pins: tuple[Deb, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["/snapshot/mr/binary/libc6/2.36-9/binfiles"] = b"<html>"
    monkeypatch.setenv("RECIPEC_SNAPSHOT_MIRROR", f"{site.base}/snapshot")
    with pytest.raises(EnvironmentLacks) as caught:
        upstream(site, store, monkeypatch).fetch_pinned((), pins)
    assert "does not answer as a snapshot service does" in caught.value.message
    assert caught.value.hint == "correct RECIPEC_SNAPSHOT_MIRROR, or unset it"
