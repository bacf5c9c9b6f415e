"""registries.toml: which host is whose, and that the rows hold together."""

from __future__ import annotations

import pytest

from recipec.catalog.registries import Quirks, quirks_of, table


@pytest.mark.parametrize(
    ("host", "title"),
    [
        ("docker.io", "Docker Hub"),
        ("index.docker.io", "Docker Hub"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "Amazon ECR"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "Amazon ECR"),
        ("public.ecr.aws", "Amazon ECR Public"),
        ("europe-west4-docker.pkg.dev", "Google Artifact Registry (GAR, GCR)"),
        ("eu.gcr.io", "Google Artifact Registry (GAR, GCR)"),
        ("team.azurecr.io:443", "Azure Container Registry"),
        ("GHCR.io", "GitHub Container Registry"),
        ("de.icr.io", "IBM Cloud Container Registry"),
    ],
)
def test_hosts_are_recognised(host: str, title: str) -> None:
    assert quirks_of(host).title == title


@pytest.mark.parametrize(
    "host", ["registry.example", "localhost:5000", "docker.io.example", "evilghcr.io", "gcr.io.co"]
)
def test_other_hosts_have_no_quirks(host: str) -> None:
    assert quirks_of(host) == Quirks()


def test_rows_say_what_they_must() -> None:
    assert len(table()) == 7
    for row in table():
        assert row.hosts, row
        assert row.source.startswith("https://"), row
        assert not (row.chunk and not row.chunks), row
        assert not row.name or quirks_of(row.name) is row
        assert not row.whole_max or row.chunk <= row.whole_max


def test_how_to_log_in() -> None:
    assert "`docker login -u iamapikey de.icr.io`" in quirks_of("de.icr.io").login_at("de.icr.io")
    assert quirks_of("x.example").login_at("x.example") == "`docker login x.example`"
