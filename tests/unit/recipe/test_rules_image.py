"""The rules of `image`: packages that are there already."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.recipe.test_rules import broken, only


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
