"""Debian archives: configuration, signature, index, the newest package."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipec.catalog.debian import archive_keys
from recipec.errors import EnvironmentLacks, HashMismatch
from recipec.pins.aptconf import Archive, DebSources, deb_sources
from recipec.pins.debian import DebIndex, read_archives
from recipec.pins.download import Downloader
from recipec.pins.lockfile import Platform
from recipec.pins.signature import UntrustedIndex
from recipec.pins.transport import Access, Credential
from recipec.store import Store, sha256
from tests.support.upstreams import Signer, Site, deb_bytes, mirror_files


def read(
    sources: DebSources, store: Store, *packages: str, platform: Platform | None = None
) -> DebIndex:
    return read_archives(
        packages,
        platform=platform or Platform(),
        sources=sources,
        downloader=Downloader(store, access=sources.access, patience=0.01),
        store=store,
    )


def mirror(site: Site, **environ: str) -> DebSources:
    return deb_sources("bookworm", {"RECIPEC_APT_MIRROR": f"{site.base}/debian", **environ})


def apt(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return folder


def test_the_newest_of_all_suites(site: Site, store: Store, signer: Signer) -> None:
    site.files |= mirror_files({"libc6": "2.36-9", "zlib1g": "1:1.2.13"}, sign=signer)
    site.files |= mirror_files({"libc6": "2.36-9+deb12u10"}, suite="bookworm-updates", sign=signer)
    site.files |= mirror_files(
        {"libc6": "2.36-9+deb12u9"},
        suite="bookworm-security",
        root="/debian-security",
        by_hash=True,
        sign=signer,
    )
    both = f"{site.base}/debian {site.base}/debian-security/"
    sources = mirror(site, RECIPEC_APT_MIRROR=both, RECIPEC_APT_KEYRING=str(signer.keyring))
    index = read(sources, store, "zlib1g", "libc6")
    libc6, zlib = index.newest(["zlib1g", "libc6"])
    assert index.notices == ()
    assert (libc6.deb.package, libc6.deb.version) == ("libc6", "2.36-9+deb12u10")
    assert libc6.url == f"{site.base}/debian/pool/main/l/libc6/libc6_2.36-9+deb12u10_amd64.deb"
    assert zlib.deb.file == "zlib1g_1.2.13_amd64.deb"
    data = deb_bytes("zlib1g", "1:1.2.13")
    assert (zlib.deb.sha256, zlib.deb.size) == (sha256(data), len(data))
    assert index.url_of(zlib.deb) == zlib.url


def test_an_index_that_did_not_change_is_not_fetched_again(site: Site, store: Store) -> None:
    site.files |= mirror_files({"libc6": "1"})
    sources = mirror(site, RECIPEC_APT_KEYRING="none")
    first = read(sources, store, "libc6")
    again = read(sources, store, "libc6")
    assert first == again
    assert site.asked("/debian/dists/bookworm/InRelease") == 2
    assert site.asked("/debian/dists/bookworm/main/binary-amd64/Packages.xz") == 1
    assert first.notices == (f"{site.base}/debian bookworm: signature not checked, as configured",)


def test_a_signature_that_does_not_hold(site: Site, store: Store, signer: Signer) -> None:
    files = mirror_files({"libc6": "1"}, sign=signer)
    place = "/debian/dists/bookworm/InRelease"
    files[place] = files[place].replace(b"Suite: oldstable", b"Suite: oldstab1e")
    site.files |= files
    sources = mirror(site, RECIPEC_APT_KEYRING=str(signer.keyring))
    with pytest.raises(UntrustedIndex) as caught:
        read(sources, store, "libc6")
    assert caught.value.exit_code == 4
    assert caught.value.message == (
        f"{site.base}/debian bookworm: the archive's index is not signed by a trusted key"
        " (the signature does not fit the text)"
    )


def test_an_unsigned_index_where_a_key_is_known(site: Site, store: Store, signer: Signer) -> None:
    site.files |= mirror_files({"libc6": "1"})
    with pytest.raises(UntrustedIndex) as caught:
        read(mirror(site, RECIPEC_APT_KEYRING=str(signer.keyring)), store, "libc6")
    assert "(no valid signature)" in caught.value.message


def test_a_foreign_key(
    site: Site, store: Store, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Signer(tmp_path_factory.mktemp("other"))
    try:
        site.files |= mirror_files({"libc6": "1"}, sign=other)
        with pytest.raises(UntrustedIndex) as caught:
            read(mirror(site, RECIPEC_APT_KEYRING=str(signer.keyring)), store, "libc6")
    finally:
        other.close()
    assert "(the keyring lacks the signer's key)" in caught.value.message


def test_a_keyring_that_is_not_there(
    site: Site, store: Store, signer: Signer, tmp_path: Path
) -> None:
    site.files |= mirror_files({"libc6": "1"}, sign=signer)
    with pytest.raises(EnvironmentLacks) as caught:
        read(mirror(site, RECIPEC_APT_KEYRING=str(tmp_path / "none")), store, "libc6")
    assert caught.value.message == (
        f"{site.base}/debian bookworm: its signature cannot be checked:"
        f" there is no keyring {tmp_path / 'none'}"
    )


def test_a_keyring_that_is_none(site: Site, store: Store, signer: Signer, tmp_path: Path) -> None:
    site.files |= mirror_files({"libc6": "1"}, sign=signer)
    (tmp_path / "ring").write_bytes(b"a letter")
    with pytest.raises(EnvironmentLacks) as caught:
        read(mirror(site, RECIPEC_APT_KEYRING=str(tmp_path / "ring")), store, "libc6")
    assert f"{tmp_path / 'ring'} is no OpenPGP keyring" in caught.value.message
    assert "\n" not in caught.value.message


def test_no_program_is_needed_to_check_a_signature(
    site: Site, store: Store, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files |= mirror_files({"libc6": "1"}, sign=signer)
    monkeypatch.setenv("PATH", str(tmp_path))
    index = read(mirror(site, RECIPEC_APT_KEYRING=str(signer.keyring)), store, "libc6")
    assert index.newest(["libc6"])[0].deb.version == "1"
    assert index.notices == ()


def test_a_host_without_keyrings_trusts_debian_alone(
    site: Site, store: Store, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files |= mirror_files({"libc6": "1"}, sign=signer)
    monkeypatch.setattr("recipec.pins.aptconf.KEYRINGS", ())
    with pytest.raises(UntrustedIndex) as caught:
        read(mirror(site), store, "libc6")
    assert "(the keyring lacks the signer's key)" in caught.value.message


def test_a_text_beside_the_signed_one_is_not_read(site: Site, store: Store, signer: Signer) -> None:
    files = mirror_files({"libc6": "1"}, sign=signer)
    place = "/debian/dists/bookworm/InRelease"
    files[place] = b"Origin: Debian\nSHA256:\n 0 0 main/binary-amd64/Packages\n\n" + files[place]
    site.files |= files
    index = read(mirror(site, RECIPEC_APT_KEYRING=str(signer.keyring)), store, "libc6")
    assert index.newest(["libc6"])[0].deb.version == "1"


def test_the_keys_that_recipec_carries() -> None:
    """As Debian publishes them at its page of archive keys."""
    from pysequoia import Cert

    found = {cert.fingerprint.upper() for cert in Cert.split_bytes(archive_keys())}
    assert found == {
        "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8",  # archive, 12
        "05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0",  # security, 12
        "4D64FEC119C2029067D6E791F8D2585B8783D481",  # stable, 12
        "04B54C3CDCA79751B16BC6B5225629DF75B188BD",  # archive, 13
        "5E04A1E3223A19A20706E20F9904613D4CCE68C6",  # security, 13
        "41587F7DB8C774BCCF131416762F67A0B2C39DE4",  # stable, 13
    }


def test_an_index_with_other_bytes(site: Site, store: Store) -> None:
    files = mirror_files({"libc6": "1"})
    place = "/debian/dists/bookworm/main/binary-amd64/Packages.xz"
    files[place] = bytes(len(files[place]))
    site.files |= files
    with pytest.raises(HashMismatch) as caught:
        read(mirror(site, RECIPEC_APT_KEYRING="none"), store, "libc6")
    assert caught.value.what == "bookworm Packages.xz"


def test_a_package_that_is_not_there(site: Site, store: Store) -> None:
    site.files |= mirror_files({"libc6": "1"})
    index = read(mirror(site, RECIPEC_APT_KEYRING="none"), store, "libc6", "nano")
    with pytest.raises(EnvironmentLacks) as caught:
        index.newest(["nano"])
    assert caught.value.message == "the configured Debian archives have no package nano"


def test_a_mirror_without_the_release(site: Site, store: Store) -> None:
    with pytest.raises(EnvironmentLacks) as caught:
        read(mirror(site), store, "libc6")
    assert caught.value.message == "no configured Debian mirror has the release bookworm"
    assert "RECIPEC_APT_MIRROR" in caught.value.hint


def test_nothing_configured(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks) as caught:
        deb_sources("bookworm", {}, folder=tmp_path)
    assert caught.value.message == (
        "no Debian mirror is configured: the image's base packages come from one"
    )
    assert caught.value.hint == (
        "set RECIPEC_APT_MIRROR to the URL of a Debian mirror, such as"
        " http://mirror.example/debian; several are separated by spaces"
    )


def test_the_configuration_of_another_release(tmp_path: Path, signer: Signer) -> None:
    key = "\n".join(f" {line}" if line else " ." for line in signer.armoured.splitlines())
    apt(
        tmp_path,
        "sources.list.d/debian.sources",
        "# a comment\nTypes: deb deb-src\nURIs: http://one.example/debian/\n"
        "Suites: trixie trixie-updates trixie-backports\nComponents: main contrib\n"
        "Signed-By: /usr/share/keyrings/a.gpg\n\n"
        "Types: deb\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\n"
        "Enabled: no\n\n"
        "Types: deb\nURIs: http://joe:word@two.example/debian-security\n"
        f"Suites: trixie-security\nComponents: main\nSigned-By:\n{key}\n\n"
        "Types: deb\nURIs: http://other.example/node\nSuites: nodistro\nComponents: main\n",
    )
    apt(
        tmp_path,
        "sources.list",
        "deb [arch=amd64 signed-by=/k.gpg] file:/srv/debian stable main # mine\n"
        "deb-src http://one.example/debian trixie main\n"
        "deb http://docker.example/linux/debian trixie stable\n"
        "deb mirror+file:/nowhere trixie main\n",
    )
    apt(tmp_path, "apt.conf.d/proxy", 'Acquire::http::Proxy "http://proxy.example:3142";\n')
    apt(tmp_path, "auth.conf.d/a.conf", "machine one.example/debian login ann password pw\n")
    sources = deb_sources("bookworm", {}, folder=tmp_path)
    assert [(a.uri, a.suite, a.optional) for a in sources.archives] == [
        ("file:///srv/debian", "bookworm", False),
        ("http://one.example/debian", "bookworm", False),
        ("http://one.example/debian", "bookworm-updates", True),
        ("http://two.example/debian-security", "bookworm-security", True),
    ]
    assert sources.archives[0].keyrings == (Path("/k.gpg"),)
    assert sources.archives[1].keyrings == (Path("/usr/share/keyrings/a.gpg"),)
    assert sources.archives[3].key.strip() == signer.armoured.strip()
    assert sources.access.proxy == "http://proxy.example:3142"
    assert sources.access.credentials == (
        Credential(host="two.example", user="joe", password="word"),
        Credential(host="one.example", user="ann", password="pw"),
    )
    assert "word" not in repr(sources)


def test_a_key_inside_the_configuration(
    site: Site, store: Store, signer: Signer, tmp_path: Path
) -> None:
    site.files |= mirror_files({"libc6": "1"}, sign=signer)
    key = "\n".join(f" {line}" if line else " ." for line in signer.armoured.splitlines())
    folder = apt(
        tmp_path,
        "sources.list.d/debian.sources",
        f"Types: deb\nURIs: {site.base}/debian\nSuites: bookworm\nComponents: main\n"
        f"Signed-By:\n{key}\n",
    )
    index = read(deb_sources("bookworm", {}, folder=folder), store, "libc6")
    assert index.notices == ()
    assert index.newest(["libc6"])[0].deb.version == "1"


def test_only_debian_counts_in_apts_configuration(site: Site, store: Store, tmp_path: Path) -> None:
    site.files |= mirror_files({"libc6": "99"}, origin="Somebody", root="/other")
    site.files |= mirror_files({"libc6": "1"})
    lines = [f"deb [trusted=yes] {site.base}/{root} bookworm main" for root in ("other", "debian")]
    folder = apt(tmp_path, "sources.list", "\n".join(lines) + "\n")
    index = read(deb_sources("bookworm", {}, folder=folder), store, "libc6")
    assert [found.deb.version for found in index.found] == ["1"]


def test_a_mirror_in_a_folder(store: Store, tmp_path: Path) -> None:
    for path, data in mirror_files({"libc6": "1"}).items():
        place = tmp_path / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    archive = Archive(
        uri=(tmp_path / "debian").as_uri(), suite="bookworm", components=("main",), trusted=True
    )
    index = read(DebSources(archives=(archive,), access=Access()), store, "libc6")
    assert index.found[0].url.startswith("file://")
