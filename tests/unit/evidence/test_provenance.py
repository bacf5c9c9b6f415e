"""Provenance: an in-toto Statement that says every input, and nothing of the machine."""

from __future__ import annotations

import getpass
import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from recipec.evidence.provenance import Build, Source, make_provenance
from recipec.store import Store, sha256
from tests.support.small import Small, make_small

DIGEST = {
    "type": "object",
    "required": ["sha256"],
    "additionalProperties": False,
    "properties": {"sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
}
RESOURCE = {
    "type": "object",
    "required": ["digest"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "uri": {"type": "string", "pattern": "^[a-z]+:"},
        "digest": DIGEST,
        "annotations": {"type": "object"},
    },
}
STATEMENT: dict[str, Any] = {
    # Statement v1 with SLSA provenance v1: what the two specifications require, and no other key.
    "type": "object",
    "required": ["_type", "subject", "predicateType", "predicate"],
    "additionalProperties": False,
    "properties": {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "subject": {"type": "array", "minItems": 1, "items": RESOURCE},
        "predicateType": {"const": "https://slsa.dev/provenance/v1"},
        "predicate": {
            "type": "object",
            "required": ["buildDefinition", "runDetails"],
            "additionalProperties": False,
            "properties": {
                "buildDefinition": {
                    "type": "object",
                    "required": ["buildType", "externalParameters"],
                    "additionalProperties": False,
                    "properties": {
                        "buildType": {"type": "string", "pattern": "^[a-z]+:"},
                        "externalParameters": {"type": "object"},
                        "internalParameters": {"type": "object"},
                        "resolvedDependencies": {"type": "array", "items": RESOURCE},
                    },
                },
                "runDetails": {
                    "type": "object",
                    "required": ["builder"],
                    "additionalProperties": False,
                    "properties": {
                        "builder": {"type": "object", "required": ["id"]},
                        "byproducts": {"type": "array", "items": RESOURCE},
                    },
                },
            },
        },
    },
}


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return make_small(tmp_path / "in", Store(tmp_path / "cache"), source="hub:org/model")


def build(small: Small) -> Build:
    return Build(
        name="small",
        image=small.image,
        lock=small.lock,
        lock_file=Source(path="recipes/small.lock.json", digest=sha256(b"lock")),
        recipes=[
            Source(path="recipes/small.yaml", digest=sha256(b"own")),
            Source(path="recipes/base.yaml", digest=sha256(b"base")),
        ],
        recipec="0.1.0",
        scripts={"train.py": sha256(b"train")},
    )


def test_it_is_a_statement_with_slsa_provenance(small: Small) -> None:
    plain = json.loads(make_provenance(build(small)))
    jsonschema.validate(plain, STATEMENT)
    subjects = [row["digest"]["sha256"] for row in plain["subject"]]
    assert subjects == [small.image.manifest.digest[7:], small.image.schema2.digest[7:]]
    details = plain["predicate"]["runDetails"]
    assert details["builder"]["version"] == {"recipec": "0.1.0"}


def test_every_input_is_a_dependency(small: Small) -> None:
    plain = json.loads(make_provenance(build(small)))
    rows = plain["predicate"]["buildDefinition"]["resolvedDependencies"]
    digests = {row["name"]: "sha256:" + row["digest"]["sha256"] for row in rows}
    lock = small.lock
    assert digests == {
        "recipes/small.yaml": sha256(b"own"),
        "recipes/base.yaml": sha256(b"base"),
        "recipes/small.lock.json": sha256(b"lock"),
        **{deb.file: deb.sha256 for deb in lock.debs},
        **{wheel.file: wheel.sha256 for wheel in lock.wheels},
        "model/weights": lock.model.files[0].sha256,
        "data/train.jsonl": lock.data[0].sha256,
        "data/raw.csv": lock.data[1].sources[0].sha256,
    }
    model = next(row for row in rows if row["name"] == "model/weights")
    assert model["uri"] == "pkg:huggingface/org/model@c0ffee"


def test_it_says_nothing_of_clock_or_machine(small: Small, tmp_path: Path) -> None:
    data = make_provenance(build(small))
    again = make_small(tmp_path / "in2", Store(tmp_path / "cache2"), source="hub:org/model")
    assert make_provenance(build(again)) == data
    text = data.decode()
    assert str(tmp_path) not in text
    assert f'"{socket.gethostname()}"' not in text
    assert f'"{getpass.getuser()}"' not in text
    for word in ("startedOn", "finishedOn", "invocationId"):
        assert word not in text


def test_another_recipe_gives_another_statement(small: Small) -> None:
    other = replace(build(small), recipes=[Source(path="recipes/small.yaml", digest=sha256(b"x"))])
    assert make_provenance(other) != make_provenance(build(small))
