"""The texts of a Dockerfile: what the image says, and nothing that could be read otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from recipec.emit.bundle import Bundle
from recipec.emit.dockerfile import dockerfile_bundle
from recipec.errors import UsageError
from recipec.pins.lockfile import Lock, Model, Wheel
from recipec.store import sha256

PIP = Wheel(name="pip", version="1", file="pip-1-py3-none-any.whl", sha256=sha256(b"p"), size=1)
TORCH = Wheel(name="torch", version="2.13.0+cpu", file="torch.whl", sha256=sha256(b"torch"), size=5)
LOCK = Lock(
    recipe="small",
    recipe_digest=sha256(b""),
    uv="0",
    layer_format=1,
    wheels=(TORCH, replace(TORCH, name="numpy", version="2", sha256=sha256(b"numpy"))),
    debs=(),
    model=Model(source="path:m", files=()),
    data=(),
)


def texts(config: dict[str, Any] | None = None, *, offline: bool = False) -> Bundle:
    given = {
        "User": "65532:65532",
        "WorkingDir": "/out",
        "Entrypoint": ["/usr/bin/python3.11", "-m", "recipec_runtime"],
        "Cmd": ["train"],
        "Env": ["HOME=/tmp", "EQUALS=a=b"],
        "Labels": {"title": "small"},
        **(config or {}),
    }
    return dockerfile_bundle(
        {"architecture": "amd64", "os": "linux", "config": given},
        LOCK,
        name="small",
        pip=PIP,
        root="/opt/recipec",
        copied=["model", "recipe"],
        folders={"/trained": 0o755, "/out": 0o1777},
        offline=offline,
    )


def test_every_wheel_has_its_version_and_hash() -> None:
    assert texts()["requirements.txt"].decode() == (
        "# 2 wheels for Python 3.11, x86_64-manylinux_2_28\n"
        f"numpy==2 \\\n    --hash={sha256(b'numpy')}\n"
        f"torch==2.13.0+cpu \\\n    --hash={sha256(b'torch')}\n"
    )


def test_the_dockerfile_says_what_the_config_says() -> None:
    lines = texts()["Dockerfile"].decode().splitlines()
    assert lines[lines.index("FROM base", lines.index("FROM base AS installed")) :] == [
        "FROM base",
        "USER 0:0",
        "COPY --from=installed /usr/local/ /usr/local/",
        "COPY --from=installed /folders/ /",
        "COPY model/ /opt/recipec/model/",
        "COPY recipe/ /opt/recipec/recipe/",
        'ENV HOME="/tmp" \\',
        '    EQUALS="a=b"',
        'LABEL title="small"',
        "USER 65532:65532",
        "WORKDIR /out",
        'ENTRYPOINT ["/usr/bin/python3.11", "-m", "recipec_runtime"]',
        'CMD ["train"]',
    ]


def test_only_the_wheels_of_the_folder_are_looked_at_when_all_are_there() -> None:
    def install(text: bytes) -> list[str]:
        line = next(row for row in text.decode().splitlines() if "/run/pip/" in row)
        words: list[str] = json.loads(line)
        return words

    alone = install(texts(offline=True)["Dockerfile"])
    assert "--no-index" in alone
    assert "--no-index" not in install(texts()["Dockerfile"])
    for option in ("--no-deps", "--require-hashes", "--no-compile"):
        assert option in alone
    assert alone[alone.index("--only-binary") + 1] == ":all:"
    assert b"secret" not in texts(offline=True)["Dockerfile"]
    assert texts()["Dockerfile"].count(b"--mount=type=secret") == 3


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a b", '"a b"'),
        ('say "x"', r'"say \"x\""'),
        ("$HOME ${HOME}", r'"\$HOME \${HOME}"'),
        ("back\\slash", r'"back\\slash"'),
        ("über", '"über"'),
    ],
)
def test_a_value_stays_the_value(value: str, written: str) -> None:
    text = texts({"Env": [f"KEY={value}"]})["Dockerfile"].decode()
    assert f"\nENV KEY={written}\n" in text


def test_a_line_break_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        texts({"Labels": {"title": "a\nRUN evil"}})
    assert caught.value.render() == (
        "error: a Dockerfile cannot hold title = 'a\\nRUN evil'\n"
        "  hint: it holds text on one line only; remove the control characters from the recipe"
    )


def test_the_helper_is_python() -> None:
    source = texts()["folders.py"].decode()
    compile(source, "folders.py", "exec")
    assert 'FOLDERS = {"/out": "1777", "/trained": "755"}' in source
