"""An image as root has the layers of ours, and differs from it in one value of its config."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipec.image.image import Image
from recipec.image.variant import as_root, original_of, root_digests
from recipec.store import Store, canonical, sha256
from tests.support.small import make_small


def made(folder: Path) -> tuple[Image, Store]:
    store = Store(folder / "cache")
    return make_small(folder / "in", store).image, store


def plain(store: Store, digest: str) -> Any:
    return json.loads(store.read(digest))


def test_the_config_differs_in_its_user_alone(tmp_path: Path) -> None:
    image, store = made(tmp_path)
    root = as_root(image, store)
    before, after = plain(store, image.config.digest), plain(store, root.config.digest)
    assert before["config"].pop("User") == "65532:65532"
    assert after["config"].pop("User") == "0:0"
    assert after == before
    for old, new in ((image.manifest, root.manifest), (image.schema2, root.schema2)):
        manifest = plain(store, new.digest)
        about = manifest.pop("config")
        assert (about["digest"], about["size"]) == (root.config.digest, root.config.size)
        assert manifest["layers"] == plain(store, old.digest)["layers"]
        assert (new.media_type, new.size) == (old.media_type, len(store.read(new.digest)))
    assert root.layers == image.layers


def test_it_follows_from_the_image_alone(tmp_path: Path) -> None:
    image, store = made(tmp_path)
    pair = (image.manifest.digest, image.schema2.digest)
    told = root_digests(image.config.digest, pair, store)
    assert not any(store.has(digest) for digest in told)
    root = as_root(image, store)
    assert told == (root.manifest.digest, root.schema2.digest)
    assert as_root(image, store) == root
    assert as_root(root, store) == root


def test_what_an_image_as_root_stands_for_can_be_told(tmp_path: Path) -> None:
    image, store = made(tmp_path)
    root = as_root(image, store)
    config = plain(store, root.config.digest)
    assert original_of(config, root.config.digest) == image.config.digest
    # Ours, one that another has written with the same words, and one that is no variant.
    assert original_of(plain(store, image.config.digest), image.config.digest) == ""
    spaced = json.dumps(config, indent=1).encode()
    assert original_of(config, sha256(spaced)) == ""
    other = {**config, "config": {**config["config"], "User": "1000"}}
    assert original_of(other, sha256(canonical(other))) == ""
    assert replace(root, config=image.config) != root
