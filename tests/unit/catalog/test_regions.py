"""The places of regions.toml: Amazon's own list has just these, and what is unknown stays so."""

from __future__ import annotations

import gzip
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from recipec.catalog.hardware import machines
from recipec.catalog.regions import _table, offer_of

LISTS = "ec2/resources/instance_type_offerings/region"


def amazon() -> dict[str, set[str]]:
    """The machine types of each region, as moto carries them; the package is not imported."""
    spec = find_spec("moto")
    assert spec is not None, "moto is in recipec[test]"
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0], LISTS)
    return {
        file.name.partition(".")[0]: {
            row["InstanceType"] for row in json.loads(gzip.decompress(file.read_bytes()))
        }
        for file in folder.iterdir()
    }


def test_amazons_machines_are_where_amazon_says() -> None:
    lists, known = amazon(), 0
    assert len(lists) == 30
    for machine in machines().values():
        offer = offer_of("aws", machine.type)
        if machine.cloud != "aws":
            continue
        where = {region for region, types in lists.items() if machine.type in types}
        # A type that no region has any more is left out: an account may still have it.
        assert (offer is None) == (not where), machine.type
        if offer is not None:
            assert set(offer.places) == where, machine.type
            known += 1
    assert known == 54


@pytest.mark.parametrize("cloud", ["aws", "google"])
def test_every_key_is_of_a_machine_of_the_catalogue(cloud: str) -> None:
    row = _table()[cloud]
    types = [machine.type for machine in machines().values() if machine.cloud == cloud]
    for key, places in row["offered"].items():
        assert any(one.startswith(key) for one in types), key
        assert places == sorted(set(places)), key
        assert all(re.fullmatch(r"[a-z]+-[a-z]+-?[0-9]+(-[a-z])?", one) for one in places), key


def test_the_longest_key_that_fits_counts() -> None:
    small, large = offer_of("google", "a3-highgpu-1g"), offer_of("google", "a3-highgpu-8g")
    assert small is not None
    assert large is not None
    assert (small.kind, small.date) == ("zones", "2026-11-23")
    assert set(small.places) - set(large.places) == {"europe-west8-c"}


@pytest.mark.parametrize(
    ("cloud", "machine"),
    [("aws", "p3.2xlarge"), ("aws", "g55.xlarge"), ("google", "g2-standard-4"), ("ibm", "gx3")],
)
def test_what_is_not_known(cloud: str, machine: str) -> None:
    assert offer_of(cloud, machine) is None
