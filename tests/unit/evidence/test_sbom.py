"""The bill of materials: the official schema accepts it, and it says what the lock pins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from recipec.errors import EnvironmentLacks
from recipec.evidence import purl
from recipec.evidence.licenses import About, of_debs, of_wheels
from recipec.pins.lockfile import Deb, Model, Wheel
from recipec.store import Store, sha256
from tests.support.small import Small, bill, make_small, wheel
from tests.support.wheels import pin


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def small(tmp_path: Path, store: Store) -> Small:
    return make_small(tmp_path / "inputs", store)


def parts(data: bytes) -> dict[str, dict[str, Any]]:
    return {part["bom-ref"]: part for part in json.loads(data)["components"]}


def test_the_official_schema_accepts_it(small: Small) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    good = bill(small)
    assert validator.validate_str(good.decode()) is None
    # The validator does refuse: it is not merely silent.
    assert validator.validate_str(good.decode().replace('"SHA-256"', '"SHA-255"')) is not None


def test_everything_that_is_pinned_is_in_it_by_hash(small: Small) -> None:
    found = parts(bill(small))
    assert sorted(found) == [
        *("data:test", "data:train", "deb:gcc-12-base", "deb:libc6", "deb:libgomp1"),
        *("model", "wheel:alpha", "wheel:beta"),
    ]
    lock = small.lock
    pinned = {f"wheel:{w.name}": w.sha256 for w in lock.wheels}
    pinned |= {f"deb:{d.package}": d.sha256 for d in lock.debs}
    pinned |= {f"data:{d.split}": d.sha256 for d in lock.data}
    for ref, digest in pinned.items():
        assert found[ref]["hashes"] == [{"alg": "SHA-256", "content": digest[7:]}]
    weights = found["model"]["components"]
    assert [w["name"] for w in weights] == ["weights"]
    assert weights[0]["hashes"][0]["content"] == lock.model.files[0].sha256[7:]
    main = json.loads(bill(small))["metadata"]["component"]
    assert main["version"] == small.image.manifest.digest


def test_each_part_names_its_layer(small: Small) -> None:
    kinds = {layer.blob.digest: layer.kind for layer in small.image.layers}
    found = parts(bill(small))
    told = {
        ref: kinds[{p["name"]: p["value"] for p in part["properties"]}["recipec:layer"]]
        for ref, part in found.items()
    }
    assert told["deb:libc6"] == "base"
    assert told["wheel:alpha"] == "wheels"
    assert (told["model"], told["data:test"]) == ("model", "data")


def test_licences_in_the_words_of_the_packages(small: Small) -> None:
    found = parts(bill(small))
    assert found["wheel:alpha"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert found["wheel:beta"]["licenses"] == [{"license": {"name": "BSD License"}}]
    gcc = [{"license": {"name": "GPL-2+"}}, {"license": {"name": "MIT"}}]
    assert found["deb:gcc-12-base"]["licenses"] == gcc
    assert found["deb:libgomp1"]["licenses"] == gcc  # its documents are a link
    assert "licenses" not in found["deb:libc6"]  # free words: nothing is guessed
    assert found["model"]["licenses"] == [{"license": {"name": "apache-2.0"}}]
    assert found["data:train"]["licenses"] == [{"license": {"name": "CC0-1.0"}}]


@pytest.mark.parametrize(
    ("lines", "about"),
    [
        (("License: MIT",), About(names=("MIT",))),
        (("License: UNKNOWN",), About()),
        (("License: line one", "        line two"), About()),
        (("Classifier: License :: OSI Approved", "License: X"), About(names=("X",))),
        (
            ("License-Expression: MIT", "Classifier: License :: OSI Approved :: BSD License"),
            About(expression="MIT"),
        ),
        (("Summary: nothing of that",), About()),
    ],
)
def test_a_wheels_licence(
    tmp_path: Path, store: Store, lines: tuple[str, ...], about: About
) -> None:
    path = wheel(tmp_path, "a", "1.0", *lines)
    store.add_file(path)
    assert of_wheels([pin(path)], store) == {pin(path).sha256: about}
    # The second time it comes from the record: the wheel may be gone.
    store.path(pin(path).sha256).unlink()
    assert of_wheels([pin(path)], store) == {pin(path).sha256: about}


def test_a_package_that_left_the_cache(small: Small) -> None:
    gone = small.lock.debs[0]
    small.store.path(gone.sha256).unlink()
    with pytest.raises(EnvironmentLacks, match="is no longer in the cache"):
        of_debs(small.lock.debs, small.store)


def test_the_same_bytes_anywhere_and_another_serial_for_other_content(
    small: Small, tmp_path: Path
) -> None:
    first = bill(small)
    again = make_small(tmp_path / "again", Store(tmp_path / "other-cache"))
    assert bill(again) == first
    other = bill(small, recipec="0.2.0")
    serials = [json.loads(data)["serialNumber"] for data in (first, other)]
    assert serials[0] != serials[1]
    assert "timestamp" not in json.loads(first)["metadata"]


def test_the_bytes_do_not_depend_on_locale_zone_or_hash_seed(small: Small, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from recipec.store import Store, sha256;"
        "from tests.support.small import bill, make_small; f = Path(sys.argv[1]);"
        "print(sha256(bill(make_small(f / 'in', Store(f / 'cache')))))"
    )
    for number, seed in enumerate(("1", "2")):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC+{number}", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == sha256(bill(small))


def pins(name: str, version: str) -> Wheel:
    return Wheel(name=name, version=version, file="f.whl", sha256="sha256:" + "a" * 64, size=1)


def test_package_urls_are_canonical() -> None:
    deb = Deb(
        package="libstdc++6",
        version="1:2.0~rc1+deb12u1-1",
        architecture="amd64",
        file="x.deb",
        sha256="sha256:" + "a" * 64,
        size=1,
    )
    hub = Model(source="hub:Org/Some_Model@main", commit="c0ffee", files=())
    inner = Model(source="wheel:a-model==1.2/a_model/inner", files=())
    found = [
        purl.of_wheel(pins("Foo.Bar_baz", "2.13.0+cpu")),
        purl.of_deb(deb, "bookworm", "gcc-12"),
        purl.of_deb(deb, "trixie", "libstdc++6"),
        purl.of_model(hub),
        purl.of_model(inner),
        purl.of_image("legal-t5", "sha256:" + "a" * 64),
    ]
    assert found == [
        "pkg:pypi/foo-bar-baz@2.13.0%2Bcpu",
        "pkg:deb/debian/libstdc%2B%2B6@1:2.0~rc1%2Bdeb12u1-1"
        "?arch=amd64&distro=debian-12&upstream=gcc-12",
        "pkg:deb/debian/libstdc%2B%2B6@1:2.0~rc1%2Bdeb12u1-1?arch=amd64&distro=debian-13",
        "pkg:huggingface/Org/Some_Model@c0ffee",
        "pkg:pypi/a-model@1.2#a_model/inner",
        "pkg:oci/legal-t5@sha256:" + "a" * 64,
    ]
    for text in found:
        assert text is not None
        assert PackageURL.from_string(text).to_string() == text
    assert purl.of_model(Model(source="path:models/tiny", files=())) is None
