"""The rules of `image`: packages that are there already, and what a base of a registry lacks."""

from __future__ import annotations

from typing import Any

import pytest

from recipec.recipe.convert import convert
from tests.unit.recipe.test_rules import broken, only

SOUND = {
    "recipe": "v1",
    "name": "a",
    "task": {"type": "causal-lm", "fields": {"text": "text"}},
    "domain": {"data": {"train": "a.jsonl"}},
    "architecture": {"model": "path:m"},
}


@pytest.mark.parametrize(
    "image",
    [
        {},
        {"packages": ["git", "openmpi-bin", "g++"]},
        {"packages": ["bash"]},
        {"package_set": "cloud", "jit": True, "packages": ["less"]},
        {"base": "debian-13", "packages": ["libcrypt1"]},
    ],
)
def test_what_goes_together(image: dict[str, Any]) -> None:
    assert broken(image=image) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"packages": ["git", "git"]}, "the Debian package git is named twice"),
        (
            {"packages": ["git", "libcrypt1"]},
            "the Debian package libcrypt1 is in the base debian-12 already",
        ),
        (
            {"packages": ["git", "bash"], "package_set": "cloud"},
            "the Debian package bash is in the package set cloud already",
        ),
        (
            {"packages": ["git", "gcc"], "jit": True},
            "the Debian package gcc is there already, because of `jit: true`",
        ),
    ],
)
def test_packages_named_in_vain(image: dict[str, Any], message: str) -> None:
    assert only(image=image) == ("image.packages.1", message, "remove it")


NAMED = f"registry.example/org/python@sha256:{'a' * 64}"


@pytest.mark.parametrize(
    "base",
    [
        NAMED,
        NAMED.replace("@", ":3.11-slim@"),
        NAMED.replace("registry.example", "localhost:5000"),
        NAMED.replace("registry.example", "[::1]:5000"),
        NAMED.replace("registry.example", "mirror:5000"),
        # By tag alone: `check` and `lock` say what to write, with the registry's help.
        "docker.io/python:3.11",
        "docker.io/python",
    ],
)
def test_images_of_registries_are_bases(base: str) -> None:
    assert broken(image={"base": base}) == []
    assert convert({**SOUND, "image": {"base": base}}) is not None


@pytest.mark.parametrize(
    "base",
    [
        "debian-11",
        "debian-12\n",
        "python:3.11",
        "library/python",
        "https://registry.example/org/python",
        "registry.example/Org/python",
        "registry.example/org/python@sha256:abc",
        f"registry.example/org/python@sha512:{'a' * 128}",
        "registry.example/org/../python",
        "registry.example/org/python:",
        "",
    ],
)
def test_what_is_no_base(base: str) -> None:
    assert convert({**SOUND, "image": {"base": base}}) is None


@pytest.mark.parametrize(
    ("key", "value"), [("package_set", "cloud"), ("jit", True), ("packages", ["git"])]
)
def test_nothing_is_installed_into_an_image_of_a_registry(key: str, value: object) -> None:
    assert only(image={"base": NAMED, key: value}) == (
        f"image.{key}",
        f"`image.{key}` asks for Debian packages, and the base is an image of a registry, which is"
        " taken as it is",
        "name a base that has what is needed, or take `base: debian-12` or `debian-13`",
    )
