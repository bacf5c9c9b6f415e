"""Downloads: parallel, resumed, verified; every failure in words."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import pytest

from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.pins.download import Downloader, Item, known_url, remember_url
from recipec.pins.transport import Access, Credential, Gone
from recipec.store import Store, sha256
from tests.support.upstreams import Site

DATA = random.Random(1).randbytes(3_000_000)
DIGEST = sha256(DATA)


def downloader(store: Store, **access: object) -> Downloader:
    return Downloader(store, access=Access(**access), jobs=4, patience=0.01)  # type: ignore[arg-type]


def item(site: Site, path: str = "/big", data: bytes = DATA) -> Item:
    return Item(what=path[1:], url=site.base + path, digest=sha256(data), size=len(data))


def left_over(store: Store) -> list[str]:
    return sorted(p.name for p in (store.root / "partial").glob("*"))


def test_fetches_many_at_once(site: Site, store: Store) -> None:
    files = {f"/f{n}": random.Random(n).randbytes(50_000) for n in range(20)}
    site.files |= files
    fetched = downloader(store).fetch_all([item(site, p, d) for p, d in files.items()])
    assert fetched.gone == ()
    assert {store.read(digest) for digest in fetched.digests.values()} == set(files.values())
    assert left_over(store) == []
    assert all(store.path(d).stat().st_mode & 0o777 == 0o444 for d in fetched.digests.values())


def test_what_is_there_is_not_asked_for(site: Site, store: Store) -> None:
    store.add_bytes(DATA)
    assert downloader(store).fetch(item(site)) == DIGEST
    assert site.requests == []


def test_goes_on_after_a_cut(site: Site, store: Store) -> None:
    site.files["/big"] = DATA
    site.cuts["/big"] = [1_200_000, 700_000]
    assert downloader(store).fetch(item(site)) == DIGEST
    first, second, third = (found for _, _, found in site.requests)
    assert first == ""
    # Whole chunks are on disk; the rest of a chunk that was cut is asked for again.
    assert 0 < int(second[6:-1]) <= 1_200_000
    assert int(second[6:-1]) < int(third[6:-1])


def test_goes_on_after_a_kill(site: Site, store: Store) -> None:
    site.files["/big"] = DATA
    partial = store.root / "partial" / DIGEST[7:]
    partial.parent.mkdir(parents=True)
    partial.write_bytes(DATA[:2_000_000])
    assert downloader(store).fetch(item(site)) == DIGEST
    assert site.requests == [("GET", "/big", "bytes=2000000-")]


@pytest.mark.parametrize("part", [b"wrong" * 1000, b"x" * len(DATA), b"x" * (len(DATA) + 5)])
def test_a_wrong_part_costs_one_more_request(site: Site, store: Store, part: bytes) -> None:
    site.files["/big"] = DATA
    partial = store.root / "partial" / DIGEST[7:]
    partial.parent.mkdir(parents=True)
    partial.write_bytes(part)
    assert downloader(store).fetch(item(site)) == DIGEST


def test_a_server_without_ranges(site: Site, store: Store) -> None:
    site.files["/big"] = DATA
    site.ranges = False
    site.cuts["/big"] = [1_500_000]
    assert downloader(store).fetch(item(site)) == DIGEST


def test_wrong_bytes(site: Site, store: Store) -> None:
    site.files["/big"] = b"other" + DATA[5:]
    with pytest.raises(HashMismatch) as caught:
        downloader(store).fetch(item(site))
    assert caught.value.exit_code == 4
    assert caught.value.message == (f"big: expected {DIGEST}, found {sha256(b'other' + DATA[5:])}")
    assert list(store.digests()) == []
    assert [name for name in left_over(store) if not name.endswith(".lock")] == []


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_busy_servers_are_asked_again(site: Site, store: Store, status: int) -> None:
    site.files["/big"] = DATA
    site.failures["/big"] = [status, status]
    assert downloader(store).fetch(item(site)) == DIGEST
    assert site.asked("/big") == 3


def test_a_server_that_stays_broken(site: Site, store: Store) -> None:
    site.files["/big"] = DATA
    site.failures["/big"] = [500] * 99
    with pytest.raises(EnvironmentLacks) as caught:
        downloader(store).fetch(item(site))
    assert caught.value.message == f"cannot download {site.base}/big: HTTP 500"
    assert site.asked("/big") == 5


def test_gone(site: Site, store: Store) -> None:
    site.files["/big"] = DATA
    with pytest.raises(Gone) as caught:
        downloader(store).fetch(item(site, "/small", b"x"))
    assert caught.value.message == f"{site.base}/small is gone (HTTP 404)"
    fetched = downloader(store).fetch_all([item(site), item(site, "/small", b"x")])
    assert [gone.what for gone in fetched.gone] == ["small"]
    assert list(fetched.digests.values()) == [DIGEST]


def test_no_server(store: Store) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EnvironmentLacks) as caught:
        downloader(store).fetch(Item(what="x", url=f"http://joe:secret@127.0.0.1:{port}/x?k=v"))
    assert caught.value.message == (f"cannot download http://127.0.0.1:{port}/x: no connection")
    assert "HTTPS_PROXY" in caught.value.hint


def test_passwords(site: Site, store: Store) -> None:
    site.files["/big"] = DATA
    site.password = "joe:pa ss"
    with pytest.raises(EnvironmentLacks) as caught:
        downloader(store).fetch(item(site))
    assert caught.value.message == f"{site.base}/big: not allowed (HTTP 401)"
    host = site.base.removeprefix("http://")
    known = Credential(host=host, user="joe", password="pa ss")
    assert downloader(store, credentials=(known,)).fetch(item(site)) == DIGEST
    in_url = Item(what="b", url=f"http://joe:pa%20ss@{host}/big")
    assert downloader(store).fetch(in_url) == DIGEST
    assert "pa ss" not in repr(known)


def test_netrc(site: Site, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.files["/big"] = DATA
    site.password = "joe:word"
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login joe password word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert downloader(store).fetch(item(site)) == DIGEST


def test_proxy(site: Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy is asked for the whole URL; this one knows the other host's file.
    site.files["/big"] = DATA
    monkeypatch.setenv("http_proxy", site.base)
    found = downloader(store).fetch(Item(what="b", url="http://mirror.example/big", digest=DIGEST))
    assert found == DIGEST
    assert site.asked("/big") == 1


def test_file_urls(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "a b,+.whl"
    source.write_bytes(DATA)
    get = downloader(store)
    assert get.fetch(Item(what="w", url=source.as_uri(), digest=DIGEST)) == DIGEST
    assert get.document(source.as_uri()) == DATA
    with pytest.raises(HashMismatch):
        get.fetch(Item(what="w", url=source.as_uri(), digest=sha256(b"other")))
    with pytest.raises(Gone) as caught:
        get.fetch(Item(what="w", url=(tmp_path / "none.whl").as_uri()))
    assert caught.value.message == "none.whl is not in its folder any more"


def test_documents(site: Site, store: Store) -> None:
    site.files["/release"] = b"text"
    site.failures["/release"] = [503]
    assert downloader(store).document(site.base + "/release") == b"text"
    with pytest.raises(Gone):
        downloader(store).document(site.base + "/none")


def test_unwritable_cache(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    site.files["/big"] = DATA
    with pytest.raises(EnvironmentLacks) as caught:
        downloader(Store(tmp_path / "file" / "cache")).fetch(item(site))
    assert caught.value.message.startswith("cannot write to ")


def test_a_full_disk(site: Site, store: Store) -> None:
    site.files["/big"] = DATA
    partial = store.root / "partial" / DIGEST[7:]
    partial.parent.mkdir(parents=True)
    # Linux has a device whose every write says that the disk is full.
    os.symlink("/dev/full", partial)  # noqa: PTH211
    with pytest.raises(EnvironmentLacks) as caught:
        downloader(store).fetch(item(site))
    assert caught.value.message == f"the disk is full: {store.root}"
    assert list(store.digests()) == []


def test_urls_are_remembered_without_passwords(store: Store) -> None:
    remember_url(store, DIGEST, "http://joe:secret@registry.example/w.whl")
    assert known_url(store, DIGEST) == "http://registry.example/w.whl"
    assert known_url(store, sha256(b"")) is None
