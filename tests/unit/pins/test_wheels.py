"""uv resolves for the target; one wheel per package is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipec.errors import EnvironmentLacks
from recipec.pins.lockfile import Platform, Wheel
from recipec.pins.sources import wheel_sources
from recipec.pins.target import marker_variables, tag_ranks
from recipec.pins.wheels import NoSolution, Resolver
from recipec.store import sha256
from tests.support.upstreams import Site, index_files, wheel_bytes, wheel_file, write_index

PLATFORM = Platform()


def resolver(folder: Path, **variables: str) -> Resolver:
    return Resolver(platform=PLATFORM, sources=wheel_sources(variables, files=()), folder=folder)


def many(*wanted: tuple[str, str]) -> dict[str, bytes]:
    return {wheel_file(name, version): wheel_bytes(name, version) for name, version in wanted}


def test_closure_from_a_folder_tree(tmp_path: Path) -> None:
    wheels = {
        wheel_file("alpha", "1.0"): wheel_bytes(
            "alpha",
            "1.0",
            needs=[
                "beta>=1",
                "gamma; sys_platform == 'win32'",
                "delta; python_version >= '3.12'",
                "epsilon; platform_machine == 'x86_64' and python_full_version < '3.11.3'",
            ],
        ),
        **many(("beta", "1.0"), ("beta", "2.0"), ("gamma", "1"), ("delta", "1"), ("epsilon", "1")),
    }
    index = write_index(tmp_path / "index", wheels)
    found = resolver(tmp_path, PIP_INDEX_URL=index).resolve(["alpha"])
    assert [(w.name, w.version) for w in found] == [
        ("alpha", "1.0"),
        ("beta", "2.0"),
        ("epsilon", "1"),
    ]
    assert [w.sha256 for w in found] == [sha256(wheels[w.file]) for w in found]


def test_the_environment_says_where_from_and_never_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = many(("alpha", "1.0"), ("alpha", "2.0"), ("alpha", "3.0rc1"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", write_index(tmp_path / "index", wheels))
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2001-01-01")
    monkeypatch.setenv("UV_RESOLUTION", "lowest")
    monkeypatch.setenv("UV_PRERELEASE", "allow")
    monkeypatch.setenv("UV_OUTPUT_FILE", str(tmp_path / "elsewhere"))
    found = resolver(tmp_path).resolve(["alpha"])
    assert [(w.name, w.version) for w in found] == [("alpha", "2.0")]
    assert not (tmp_path / "elsewhere").exists()


def test_the_best_file_for_the_target(tmp_path: Path) -> None:
    tags = [
        "py3-none-any",
        "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp311-cp311-manylinux_2_34_x86_64",  # a glibc newer than the target's
        "cp312-cp312-manylinux_2_28_x86_64",
        "cp311-cp311-macosx_11_0_arm64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp39-abi3-manylinux_2_28_x86_64",
    ]
    wheels = {wheel_file("alpha", "1.0", t): wheel_bytes("alpha", "1.0", tag=t) for t in tags}
    index = write_index(tmp_path / "index", wheels)
    (found,) = resolver(tmp_path, PIP_INDEX_URL=index).resolve(["alpha"])
    assert found.file == "alpha-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"


def test_find_links_with_a_local_version(tmp_path: Path) -> None:
    folder = tmp_path / "wheels,all"
    folder.mkdir()
    data = wheel_bytes("alpha", "1.0+cpu")
    (folder / wheel_file("alpha", "1.0+cpu")).write_bytes(data)
    own = resolver(tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder))
    (found,) = own.resolve(["alpha==1.0+cpu"])
    assert (found.version, found.file) == ("1.0+cpu", "alpha-1.0+cpu-py3-none-any.whl")
    assert found.url.startswith("file://")


def test_the_best_of_pips_indexes(tmp_path: Path) -> None:
    main = write_index(tmp_path / "main", many(("alpha", "2.0")))
    extra = write_index(tmp_path / "extra", many(("alpha", "1.0")))
    own = resolver(tmp_path, PIP_INDEX_URL=main, PIP_EXTRA_INDEX_URL=extra)
    assert own.resolve(["alpha"])[0].version == "2.0"


def test_http_index_with_a_password(site: Site, tmp_path: Path) -> None:
    site.files |= index_files(many(("alpha", "1.0")))
    site.password = "joe:s3cret"
    url = site.base.replace("://", "://joe:s3cret@") + "/simple"
    (found,) = resolver(tmp_path, PIP_INDEX_URL=url).resolve(["alpha"])
    assert found.url == f"{site.base}/files/alpha-1.0-py3-none-any.whl"
    with pytest.raises(NoSolution) as caught:
        resolver(tmp_path, PIP_INDEX_URL=url).resolve(["alpha==9"])
    assert "s3cret" not in caught.value.render()


def test_pins_are_kept_where_they_can_be(tmp_path: Path) -> None:
    wheels = many(("alpha", "1.0"), ("alpha", "2.0"), ("beta", "1.0"), ("beta", "2.0"))
    index = write_index(tmp_path / "index", wheels)
    pins = [
        Wheel(name=name, version="1.0", file="", sha256="", size=0) for name in ("alpha", "beta")
    ]
    found = resolver(tmp_path, PIP_INDEX_URL=index).resolve(["alpha", "beta==2.0"], prefer=pins)
    assert [w.version for w in found] == ["1.0", "2.0"]


def test_locate_tells_what_is_gone(tmp_path: Path) -> None:
    wheels = many(("alpha", "1.0"), ("beta", "2.0"), ("gamma", "1.0"))
    index = write_index(tmp_path / "index", wheels)

    def pin(name: str, version: str, data: bytes) -> Wheel:
        file = wheel_file(name, version)
        return Wheel(name=name, version=version, file=file, sha256=sha256(data), size=len(data))

    alpha = pin("alpha", "1.0", wheels[wheel_file("alpha", "1.0")])
    beta = pin("beta", "1.0", wheel_bytes("beta", "1.0"))
    gamma = pin("gamma", "1.0", b"other bytes under the same name")
    urls = resolver(tmp_path, PIP_INDEX_URL=index).locate([alpha, beta, gamma])
    assert list(urls) == [alpha.sha256]
    assert urls[alpha.sha256].endswith("/files/alpha-1.0-py3-none-any.whl")


@pytest.mark.parametrize("version", ["1.0", "1.0+cpu"])
@pytest.mark.parametrize("gone", [False, True])
def test_locate_tells_a_local_version_from_the_public_one(
    tmp_path: Path, version: str, gone: bool
) -> None:
    wheels = many(("alpha", "1.0"), ("alpha", "1.0+cpu"), ("beta", "1.0"))
    index = write_index(tmp_path / "index", wheels)
    file = wheel_file("alpha", version)
    alpha = Wheel(name="alpha", version=version, file=file, sha256=sha256(wheels[file]), size=1)
    beta = Wheel(name="beta", version="0.9", file="beta-0.9.whl", sha256="sha256:0", size=1)
    urls = resolver(tmp_path, PIP_INDEX_URL=index).locate([alpha, beta] if gone else [alpha])
    assert list(urls) == [alpha.sha256]


def test_no_such_version(tmp_path: Path) -> None:
    index = write_index(tmp_path / "index", many(("alpha", "1.0")))
    with pytest.raises(NoSolution) as caught:
        resolver(tmp_path, PIP_INDEX_URL=index).resolve(["alpha==9"])
    assert caught.value.exit_code == 1
    assert caught.value.message == (
        "the image's Python packages cannot be resolved: Because there is no version of alpha==9"
        " and you require alpha==9, we can conclude that your requirements are unsatisfiable."
    )


@pytest.mark.parametrize(
    "line",
    ["alpha==1\n--index-url http://evil.example", "-r /etc/passwd", "a @ http://x.example/a"],
)
def test_only_names_and_versions_reach_uv(tmp_path: Path, line: str) -> None:
    with pytest.raises(NoSolution) as caught:
        resolver(tmp_path).resolve([line])
    assert caught.value.message == f"not a package and a version: {line!r}"


def test_no_wheel_for_the_target(tmp_path: Path) -> None:
    tag = "cp312-cp312-win_amd64"
    wheels = {wheel_file("alpha", "1.0", tag): wheel_bytes("alpha", "1.0", tag=tag)}
    index = write_index(tmp_path / "index", wheels)
    with pytest.raises(NoSolution) as caught:
        resolver(tmp_path, PIP_INDEX_URL=index).resolve(["alpha"])
    assert caught.value.exit_code == 1


def test_no_index_there(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks) as caught:
        resolver(tmp_path, PIP_INDEX_URL="http://127.0.0.1:9/simple").resolve(["alpha"])
    assert caught.value.message.startswith("the package index cannot be reached: ")


def test_target_is_not_the_host() -> None:
    ranks = {str(tag): rank for tag, rank in tag_ranks(PLATFORM).items()}
    assert ranks["cp311-cp311-manylinux_2_28_x86_64"] == 0
    assert ranks["cp311-cp311-manylinux_2_28_x86_64"] < ranks["cp311-abi3-manylinux_2_28_x86_64"]
    assert ranks["cp38-abi3-manylinux2014_x86_64"] < ranks["py3-none-any"]
    assert "cp312-cp312-manylinux_2_28_x86_64" not in ranks
    assert "cp311-cp311-manylinux_2_29_x86_64" not in ranks
    assert marker_variables(PLATFORM)["python_version"] == "3.11"
